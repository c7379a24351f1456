"""Reference only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dopd_lightning.divergence.term import Term
from dopd_lightning.fusion.rule import Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence


@dataclass(frozen=True, kw_only=True)
class Reference(UniformDivergence):
    """Every token is drawn to the reference.

    With the student as the reference this is self-distillation under privileged context: OPSD (arXiv 2601.18734), SDFT
    (arXiv 2601.19897).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        return Supervision([Term("reference", "reference", self.divergence, statistics.mask.float())])
