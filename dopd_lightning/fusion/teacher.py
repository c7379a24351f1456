"""Teacher only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dopd_lightning.divergence.term import Term
from dopd_lightning.fusion.rule import Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence


@dataclass(frozen=True, kw_only=True)
class Teacher(UniformDivergence):
    """Every token is drawn to the teacher: vanilla on-policy distillation (GKD, Agarwal et al., arXiv 2306.13649)."""

    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        return Supervision([Term("teacher", "teacher", self.divergence, statistics.mask.float())])
