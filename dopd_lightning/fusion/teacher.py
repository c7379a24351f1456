"""One source only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dopd_lightning.divergence import Term, Toward
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence


@dataclass(frozen=True, kw_only=True)
class Teacher(UniformDivergence):
    """Every token is drawn to one source: vanilla on-policy distillation (GKD, Agarwal et al., arXiv 2306.13649).

    Attributes:
        source: its name.
    """

    source: str = "teacher"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.source})

    @property
    def pairs(self) -> Sequence[Pair]:
        return [Pair(Toward(self.source), self.divergence)]

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        return Supervision([Term(self.source, self.source, self.divergence, statistics.mask.float())])


@dataclass(frozen=True, kw_only=True)
class Reference(Teacher):
    """As `Teacher`, with the reference for it.

    With the student as the reference this is self-distillation under privileged context: OPSD (arXiv 2601.18734), SDFT
    (arXiv 2601.19897).
    """

    source: str = "reference"
