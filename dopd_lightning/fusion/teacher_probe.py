"""Distillation on prompts that the teacher solves."""

from __future__ import annotations

from dataclasses import dataclass

from dopd_lightning.divergence import TO_OWN_TOKEN, Advantage, Term
from dopd_lightning.errors import check_range
from dopd_lightning.fusion.advantage import advantages
from dopd_lightning.fusion.reward_mix import RewardMix
from dopd_lightning.fusion.rule import Supervision
from dopd_lightning.fusion.statistics import TokenStatistics


@dataclass(frozen=True, kw_only=True)
class TeacherProbe(RewardMix):
    """Distil on prompts that the teacher solves, and learn from rewards only on others (TGOPD, arXiv 2609.02998).

    Attributes:
        solved: name of the source of rewards that has the teacher's share of right answers, such as a `Column` of the
            data.
        least: smallest share of a solved prompt, from 0 to 1; a prompt with an unknown share counts as solved.
        reward_weight: weight of the policy gradient on prompts that the teacher does not solve; 0 leaves them out.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> import torch
        >>> logits, ids, group = torch.zeros(4, 1, 2), torch.zeros(4, 1, dtype=torch.long), torch.tensor([0, 0, 1, 1])
        >>> solved, outcome = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([1.0, 0.0, 1.0, 0.0])
        >>> given = {"rewards": {"outcome": outcome, "solved": solved}, "group": group}
        >>> statistics = TokenStatistics.from_logits(logits, {"teacher": logits}, ids, torch.ones(4, 1), **given)
        >>> # Two responses to a prompt that the teacher solves, then two to one that it does not:
        >>> {term.name: term.weight.flatten().tolist() for term in TeacherProbe()(statistics).terms}
        {'teacher': [1.0, 1.0, 0.0, 0.0], 'reward': [0.0, 0.0, 1.0, 1.0]}
    """

    solved: str = "solved"
    least: float = 2 / 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("least", self.least, at_least=0, at_most=1)

    @property
    def needs(self) -> frozenset[str]:
        return super().needs | {self.solved}

    @property
    def rewards(self) -> frozenset[str]:
        return super().rewards | {self.solved}

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        supervision = super().__call__(statistics)
        failed = (statistics.reward(self.solved) < self.least).float().unsqueeze(-1)
        distil, _ = supervision.terms
        of_rollouts = advantages(statistics, self.outcome, self.baseline, scale=self.scale)
        advantage = self.reward_weight * of_rollouts.unsqueeze(-1) * failed * statistics.mask
        terms = [
            Term(distil.name, distil.target, distil.divergence, distil.weight * (1 - failed)),
            Term("reward", Advantage(advantage), TO_OWN_TOKEN, (advantage != 0).float()),
        ]
        return Supervision(terms, advantage=advantage)
