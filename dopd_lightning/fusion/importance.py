"""Teacher, on the most informative tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dopd_lightning.divergence.term import Term
from dopd_lightning.errors import check_range
from dopd_lightning.fusion.ranking import largest
from dopd_lightning.fusion.rule import Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence


@dataclass(frozen=True, kw_only=True)
class Importance(UniformDivergence):
    """The teacher, at the tokens that teach most (TIP, arXiv 2604.14084).

    A token teaches where the student is unsure, or sure and far from the teacher. With h the student's entropy and d
    its reverse KL to the teacher, each scaled to [0, 1] over the batch's response tokens (ours), the score is their
    Soft-OR, ``h + d - h d``.

    Attributes:
        keep: share of the batch's response tokens to train on, above 0 and at most 1, rounded up to a whole token.

    Raises:
        ConfigError: for a field out of range.
    """

    keep: float = 0.5

    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("keep", self.keep, above=0, at_most=1)

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        h = _unit_range(statistics.student_entropy[statistics.mask])
        d = _unit_range(statistics.teacher_divergence[statistics.mask])
        kept = ~largest(-(h + d - h * d), 1 - self.keep)
        return Supervision([Term("importance", "teacher", self.divergence, statistics.scatter(kept.float()))])


def _unit_range(values: Tensor) -> Tensor:
    if len(values) == 0:
        return values
    spread = values.max() - values.min()
    return (values - values.min()) / spread.where(spread > 0, 1.0)
