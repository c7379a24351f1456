"""Distillation with soft weights from verified outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dopd_lightning.divergence import Support, Term, Toward
from dopd_lightning.errors import check_range
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence

_SMALLEST = 1e-8
"""Smallest median, from the paper."""


@dataclass(frozen=True, kw_only=True)
class R2OPD(UniformDivergence):
    """Weight tokens by the agreement of the source's preference with the outcome (R2-OPD, arXiv 2609.35517).

    With ``A = log source(y) - log student(y)``, z = 1 for a right response and -1 for a wrong one, and ν the median of
    |A| over the response, a token has the gate ``g = sigmoid(beta_gate z A / ν)`` and the weight ``g Σ|A| / Σ g|A|``.
    The sums are over the response, so that its sum of ``weight |A|`` stays Σ|A|. Responses that were cut at the length
    limit, and those with an unknown outcome, have weights of 1. With the ``sampled`` support, this is the published
    policy gradient. With other supports, it weights a divergence (ours).

    Attributes:
        source: name of the source of distributions.
        outcome: name of the source of rewards.
        right: smallest reward of a right response.
        beta_gate: sharpness of the gate, above 0; the paper's β.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> student = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]]).log()
        >>> teacher = torch.tensor([[[0.8, 0.2], [0.2, 0.8]]]).log()
        >>> ids, mask, rewards = torch.tensor([[0, 0]]), torch.ones(1, 2), {"outcome": torch.tensor([1.0])}
        >>> logits = {"teacher": teacher}
        >>> statistics = TokenStatistics.from_logits(student, logits, ids, mask, end_ids=[0], rewards=rewards)
        >>> R2OPD(beta_gate=1.0)(statistics).terms[0].weight  # A = 0.4700 and -0.9163, ν = 0.6931
        tensor([[1.8222, 0.5783]])
    """

    support: Support = "sampled"
    source: str = "teacher"
    outcome: str = "outcome"
    right: float = 1.0
    beta_gate: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("beta_gate", self.beta_gate, above=0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.source, self.outcome})

    @property
    def rewards(self) -> frozenset[str]:
        """Names of the sources that give rewards."""
        return frozenset({self.outcome})

    @property
    def pairs(self) -> Sequence[Pair]:
        return [Pair(Toward(self.source), self.divergence)]

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        mask, reward = statistics.mask, statistics.reward(self.outcome)
        ahead = (statistics[self.source].logp - statistics["student"].logp) * mask
        size = ahead.abs()
        middle = medians(size, mask).clamp(min=_SMALLEST).unsqueeze(-1)
        sign = torch.where(reward >= self.right, 1.0, -1.0).unsqueeze(-1)
        gate = torch.sigmoid(self.beta_gate * sign * ahead / middle) * mask
        kept = (gate * size).sum(-1, keepdim=True)
        gated = torch.where(kept > 0, gate * size.sum(-1, keepdim=True) / kept.clamp(min=1e-30), gate)
        plain = reward.isnan() | ~statistics.ends.any(-1)
        weight = torch.where(plain.unsqueeze(-1), mask.float(), gated * mask)
        return Supervision([Term("r2_opd", self.source, self.divergence, weight)])


def medians(values: Tensor, mask: Tensor) -> Tensor:
    """Return the median of each row's values where the mask is true; 0 for a row without any.

    Args:
        values: ``(batch, response)``.
        mask: ``(batch, response)`` bool.

    Returns:
        ``(batch,)``. Of an even number of values it is the mean of the two in the middle.
    """
    count = mask.sum(-1)
    ordered = values.masked_fill(~mask, torch.inf).sort(dim=-1).values
    last = (count - 1).clamp(min=0)
    low, high = (ordered.gather(-1, (place // 2).unsqueeze(-1)).squeeze(-1) for place in (last, last + 1))
    high = torch.where(count % 2 == 1, low, high)
    return torch.where(count > 0, (low + high) / 2, 0.0)
