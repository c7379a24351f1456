"""Linear pool of teacher and reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dopd_lightning.divergence.term import Pool, Term
from dopd_lightning.fusion.rule import Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence


@dataclass(frozen=True, kw_only=True)
class Mixture(UniformDivergence):
    """Every token is drawn to ``λ teacher + (1 - λ) reference``, the linear opinion pool.

    Attributes:
        teacher_weight: λ, from 0 to 1.

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
        return Pool(self.teacher_weight)

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        return Supervision([Term("mixture", self.pool, self.divergence, statistics.mask.float())])
