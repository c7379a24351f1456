"""Distillation gated by verified outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dopd_lightning.divergence import Support, Term, Toward
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion.advantage import advantages
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence


@dataclass(frozen=True, kw_only=True)
class OPDVR(UniformDivergence):
    """Learn only tokens at which the source's preference agrees with the outcome (OPDVR, arXiv 2608.24696).

    With ``A = log source(y) - log student(y)``, tokens of a right response are kept where A > 0, tokens of a wrong
    response where A < 0, and all tokens of a response with an unknown outcome. With the ``sampled`` support, this is
    the published policy gradient with ``max(0, A)`` and ``-max(0, -A)``. With other supports, it selects the tokens of
    a divergence (ours).

    Attributes:
        source: name of the source of distributions.
        outcome: name of the source of rewards.
        right: smallest reward of a right response.
        group: use the sign of the group's advantage instead of the outcome (the paper's GRPD); groups of equal rewards
            have no loss.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> student = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]]).log()
        >>> teacher = torch.tensor([[[0.9, 0.1], [0.1, 0.9]]]).log()
        >>> ids, mask = torch.tensor([[0, 0]]), torch.ones(1, 2)
        >>> rewards = {"outcome": torch.tensor([1.0])}  # right, but the teacher finds the second token unlikely
        >>> statistics = TokenStatistics.from_logits(student, {"teacher": teacher}, ids, mask, rewards=rewards)
        >>> OPDVR()(statistics).terms[0].weight.tolist()
        [[1.0, 0.0]]
    """

    support: Support = "sampled"
    source: str = "teacher"
    outcome: str = "outcome"
    right: float = 1.0
    group: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, bool):
            raise ConfigError(f"group: {self.group!r} must be true or false")

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
        log_ratio = statistics[self.source].logp - statistics["student"].logp
        reward = statistics.reward(self.outcome)
        if self.group:
            sign = advantages(statistics, self.outcome, "group").sign()
            sign = torch.where(reward.isnan(), torch.nan, sign)
        else:
            sign = torch.where(reward.isnan(), torch.nan, torch.where(reward >= self.right, 1.0, -1.0))
        sign = sign.unsqueeze(-1)
        kept = sign.isnan() | (sign * log_ratio > 0)
        return Supervision([Term("opdvr", self.source, self.divergence, (kept & statistics.mask).float())])
