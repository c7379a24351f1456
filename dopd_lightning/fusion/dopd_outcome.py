"""DOPD, with the teacher as target in HS where the response is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dopd_lightning.divergence import Term, Toward
from dopd_lightning.fusion.dopd import DOPD
from dopd_lightning.fusion.routing import Regime
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics


@dataclass(frozen=True, kw_only=True)
class DOPDOutcome(DOPD):
    """DOPD, but the teacher is the target of HS tokens in responses that are known to be wrong (ours).

    In HS, the student's token is much likelier under the reference than under the teacher. In a wrong response, such a
    token is more often a mistake of the student than valid exploration.

    Attributes:
        outcome: name of the source of rewards.
        right: smallest reward of a right response; a response with an unknown reward counts as right.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[[0.5, 0.1], [0.5, 0.1]], [[0.5, 0.8], [0.5, 0.8]]])  # teacher, reference
        >>> teacher, reference = torch.stack([probs, 1 - probs], dim=-1).log()  # both responses have regimes LH, HS
        >>> sources, ids = {"teacher": teacher, "reference": reference}, torch.zeros(2, 2).long()
        >>> given = {"mask": torch.ones(2, 2), "rewards": {"outcome": torch.tensor([1.0, 0.0])}}  # the second is wrong
        >>> terms = DOPDOutcome()(TokenStatistics.from_logits(teacher, sources, ids, **given)).terms
        >>> [(term.name, term.target.name, term.weight[:, 1]) for term in terms[-2:]]  # of each response's second token
        [('HS', 'reference', tensor([0.6000, 0.0000])), ('HS_wrong', 'teacher', tensor([0.0000, 0.6000]))]
    """

    outcome: str = "outcome"
    right: float = 1.0

    @property
    def needs(self) -> frozenset[str]:
        return super().needs | {self.outcome}

    @property
    def rewards(self) -> frozenset[str]:
        """Names of the sources that give rewards."""
        return frozenset({self.outcome})

    @property
    def pairs(self) -> Sequence[Pair]:
        row = self._table[Regime.HS]
        return [*super().pairs, Pair(Toward(self.source or self.teacher), self._divergence(row))]

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        supervision = super().__call__(statistics)
        wrong = (statistics.reward(self.outcome) < self.right).float().unsqueeze(-1)
        terms = []
        for term in supervision.terms:
            if term.name != Regime.HS.name:
                terms.append(term)
                continue
            terms += [
                Term(term.name, term.target, term.divergence, term.weight * (1 - wrong)),
                Term("HS_wrong", self.source or self.teacher, term.divergence, term.weight * wrong),
            ]
        return Supervision(terms, supervision.regimes, supervision.thresholds)
