"""Work on rows as wide as the vocabulary, in place and in pieces that fit a cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dopd_lightning.scores.distribution import EXCLUDED, LOG_PROB_FLOOR

BLOCK = 4096
"""Columns that sums and exponentials take at once: what they make on the way stays small, and in the cache."""


def blocks(*rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same columns of each of ``rows`` ``(n, vocab)``, from left to right, as views."""
    return zip(*(torch.split(each, BLOCK, dim=-1) for each in rows), strict=True)


def log_sum_exp(rows: Tensor, largest: Tensor) -> Tensor:
    """Log of the sum of the exponentials of each row, ``(n, 1)``; ``largest`` ``(n, 1)`` are the maxima."""
    total = torch.zeros_like(largest)
    for (block,) in blocks(rows):
        total += (block - largest).exp_().sum(-1, keepdim=True)
    return total.log_().add_(largest)


def normalize_(rows: Tensor) -> None:
    """Turn logits ``(n, vocab)`` into log-probabilities, none below the floor, in place."""
    subtract_normalizer_(rows)
    rows.clamp_(min=LOG_PROB_FLOOR)


def subtract_normalizer_(rows: Tensor) -> Tensor:
    """Turn logits ``(n, vocab)`` into log-probabilities in place; returns what was subtracted, ``(n,)``."""
    normalizer = log_sum_exp(rows, rows.amax(-1, keepdim=True))
    rows.sub_(normalizer)
    return normalizer.squeeze(-1)


def tail_log_probability_(log_probs: Tensor, ids: Tensor) -> Tensor:
    """Log-probability ``(n, 1)`` of all tokens but ``ids`` ``(n, K)``, whose entries are lost.

    It is summed over the tail itself: 1 minus the sum of the others would lose a small one to rounding.
    """
    log_probs.scatter_(-1, ids, EXCLUDED)
    largest = log_probs.amax(-1, keepdim=True).clamp_(min=LOG_PROB_FLOOR)
    return log_sum_exp(log_probs, largest).clamp_(min=LOG_PROB_FLOOR)
