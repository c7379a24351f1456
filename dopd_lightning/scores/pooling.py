"""Pools of distributions over one vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dopd_lightning.errors import ConfigError, check_range
from dopd_lightning.scores.distribution import log_probs
from dopd_lightning.scores.rows import blocks

Weight = float | Tensor
"""A member's weight: a number for all tokens, or one for each, ``(tokens,)``."""

_ROUNDING = 1e-6


def check_weights(place: str, weights: Mapping[str, Weight], *, geometric: bool) -> None:
    """Refuse numbers that are no weights of a pool; tensors are not looked into.

    Args:
        place: stands before a complaint.
        weights: by name; linear ones are at least 0; all sum to 1.
        geometric: whether the pool is log-linear, where weights may be negative.

    Raises:
        ConfigError: for no weight, one out of range, or another sum.
    """
    if not weights:
        raise ConfigError(f"{place}: no weight is given; a pool has at least one member")
    numbers = {name: weight for name, weight in weights.items() if not isinstance(weight, Tensor)}
    for name, weight in numbers.items():
        check_range(f"{place}.{name}", weight, at_least=None if geometric else 0)
    if len(numbers) == len(weights) and abs(sum(numbers.values()) - 1) > _ROUNDING:
        raise ConfigError(f"{place}: the weights sum to {sum(numbers.values()):g}; they must sum to 1")


def pool(members: Sequence[tuple[Tensor, Weight]], *, geometric: bool) -> Tensor:
    """Logits of a pool, ``(n, vocab)``, without a graph.

    Args:
        members: logits ``(n, vocab)``, each with its weight: a number, or ``(n,)``.
        geometric: whether the pool is log-linear, ``Σ w_i log p_i``, instead of ``log Σ w_i p_i``.
    """
    rows = torch.stack([log_probs(logits.detach()) for logits, _ in members])
    weights = torch.stack([_column(weight, rows[0]).expand(len(rows[0]), 1) for _, weight in members])
    return (weights * rows).sum(0) if geometric else (weights.log() + rows).logsumexp(0)


def weigh_(rows: Tensor, weight: Weight, *, geometric: bool) -> Tensor:
    """Begin a pool in place, with its first member's log-probabilities ``(n, vocab)``."""
    weight = _column(weight, rows)
    return rows.mul_(weight) if geometric else rows.add_(weight.log())


def mix_in_(rows: Tensor, other: Tensor, weight: Weight, *, geometric: bool) -> Tensor:
    """Add a further member's log-probabilities ``other`` ``(n, vocab)`` to the pool so far, in place.

    ``other`` is lost. The result is not normalized.
    """
    weigh_(other, weight, geometric=geometric)
    for total, more in blocks(rows, other):
        total.copy_(total + more if geometric else torch.logaddexp(total, more))
    return rows


def _column(weight: Weight, like: Tensor) -> Tensor:
    return torch.as_tensor(weight, dtype=like.dtype, device=like.device).reshape(-1, 1)
