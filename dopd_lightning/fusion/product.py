"""Log-linear pool of teacher and reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dopd_lightning.divergence.term import Pool, Term
from dopd_lightning.fusion.rule import Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence


@dataclass(frozen=True, kw_only=True)
class Product(UniformDivergence):
    """Every token is drawn to the distribution proportional to ``teacher^λ reference^(1 - λ)``, the log-linear pool.

    Attributes:
        teacher_weight: λ, at least 0; above 1 the target lies beyond the teacher, seen from the reference (ExOPD, arXiv
            2602.12125).

    Raises:
        ConfigError: for a field out of range.
    """

    teacher_weight: float = 0.5

    needs: ClassVar[frozenset[str]] = frozenset({"teacher", "reference"})

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.pool

    @property
    def pool(self) -> Pool:
        """The target."""
        return Pool(self.teacher_weight, geometric=True)

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        return Supervision([Term("product", self.pool, self.divergence, statistics.mask.float())])
