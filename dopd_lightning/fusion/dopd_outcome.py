"""DOPD, with outcomes in the regime of the reference."""

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
    """DOPD, but the teacher teaches tokens of HS in responses that are known to be wrong (ours).

    In HS the student's token is likelier under the reference than under the teacher, by much. In a wrong response that
    is more often a mistake of the student than a valid exploration.

    Attributes:
        outcome: name of the source of rewards.
        right: smallest reward of a right response; one that is unknown counts as right.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> sorted(DOPDOutcome().needs)
        ['outcome', 'reference', 'teacher']
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
