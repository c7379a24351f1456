"""Distillation plus a policy gradient of rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from dopd_lightning.divergence import TO_OWN_TOKEN, Advantage, Term, Toward
from dopd_lightning.errors import ConfigError, check_choice, check_range
from dopd_lightning.fusion.advantage import Baseline, advantages
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence


@dataclass(frozen=True, kw_only=True)
class RewardMix(UniformDivergence):
    """Distil from one source, and add a weighted policy gradient of rewards, as slime, miles and verl do.

    The loss is ``divergence(student, source) - reward_weight * A * log student(y)``, with A the reward minus its
    baseline. With ``clip``, a token's divergence has the weight ``min(1, clip / |log source(y) - log student(y)|)``,
    which clips the log-ratio of the ``sampled`` support.

    Attributes:
        source: name of the source of distributions.
        outcome: name of the source of rewards.
        reward_weight: weight of the policy gradient, at least 0.
        baseline: ``group`` (responses to the same prompt), ``batch`` or ``none``.
        scale: divide advantages by the standard deviation of the rewards in the baseline.
        clip: largest log-ratio that is not clipped, in nats; None for no clipping.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> import torch
        >>> logits, ids = torch.zeros(2, 1, 2), torch.zeros(2, 1, dtype=torch.long)
        >>> given = {"rewards": {"outcome": torch.tensor([1.0, 0.0])}, "group": torch.tensor([0, 0])}
        >>> statistics = TokenStatistics.from_logits(logits, {"teacher": logits}, ids, torch.ones(2, 1), **given)
        >>> RewardMix(reward_weight=2.0)(statistics).advantage.tolist()  # 2 (1 - 0.5) and 2 (0 - 0.5)
        [[1.0], [-1.0]]
    """

    source: str = "teacher"
    outcome: str = "outcome"
    reward_weight: float = 1.0
    baseline: Baseline = "group"
    scale: bool = False
    clip: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("reward_weight", self.reward_weight, at_least=0)
        check_choice("baseline", self.baseline, get_args(Baseline))
        if not isinstance(self.scale, bool):
            raise ConfigError(f"scale: {self.scale!r} must be true or false")
        if self.clip is not None:
            check_range("clip", self.clip, above=0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.source, self.outcome})

    @property
    def rewards(self) -> frozenset[str]:
        """Names of the sources that give rewards."""
        return frozenset({self.outcome})

    @property
    def pairs(self) -> Sequence[Pair]:
        return [Pair(Toward(self.source), self.divergence), Pair(Advantage(), TO_OWN_TOKEN)]

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        mask = statistics.mask.float()
        weight = mask
        if self.clip is not None:
            size = (statistics[self.source].logp - statistics["student"].logp).abs()
            weight = mask * (self.clip / size.clamp(min=self.clip))
        of_rollouts = advantages(statistics, self.outcome, self.baseline, scale=self.scale)
        advantage = self.reward_weight * of_rollouts.unsqueeze(-1) * mask
        terms = [
            Term(self.source, self.source, self.divergence, weight),
            Term("reward", Advantage(advantage), TO_OWN_TOKEN, (advantage != 0).float()),
        ]
        return Supervision(terms, advantage=advantage)
