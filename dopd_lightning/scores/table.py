"""A policy's likeliest tokens, kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dopd_lightning.scores.distribution import LOG_PROB_FLOOR


@dataclass(frozen=True, eq=False)
class Table:
    """A policy's likeliest tokens, at the loss temperature.

    Attributes:
        ids: ``(tokens, K)`` int32, likeliest first.
        logps: ``(tokens, K)``, their log-probabilities.
        tail_logp: ``(tokens,)``, log-probability of all others together; that of none is `EXCLUDED`.
    """

    ids: Tensor
    logps: Tensor
    tail_logp: Tensor

    def first(self, top_k: int, tokens: Tensor) -> Table:
        """The ``top_k`` likeliest, of some tokens."""
        logps = self.logps[tokens]
        rest = torch.cat([logps[:, top_k:], self.tail_logp[tokens].unsqueeze(-1)], dim=-1).logsumexp(-1)
        return Table(self.ids[tokens, :top_k], logps[:, :top_k], rest.clamp(min=LOG_PROB_FLOOR))
