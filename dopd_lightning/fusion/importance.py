"""One source, on the most informative tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dopd_lightning.divergence import Term, Toward
from dopd_lightning.errors import check_range
from dopd_lightning.fusion.ranking import largest
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence


@dataclass(frozen=True, kw_only=True)
class Importance(UniformDivergence):
    """One source, at the tokens that teach most (TIP, arXiv 2604.14084).

    A token teaches where the student is unsure, or sure and far from the source. With h the student's entropy and d
    its reverse KL to the source, each scaled to [0, 1] over the batch's response tokens (ours), the score is their
    Soft-OR, ``h + d - h d``.

    Attributes:
        source: its name.
        keep: share of the batch's response tokens to train on, above 0 and at most 1, rounded up to a whole token.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> sorted(Importance(keep=0.2).needs)
        ['teacher']
    """

    source: str = "teacher"
    keep: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("keep", self.keep, above=0, at_most=1)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.source})

    @property
    def pairs(self) -> Sequence[Pair]:
        return [Pair(Toward(self.source), self.divergence)]

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        h = _unit_range(statistics["student"].entropy[statistics.mask])
        d = _unit_range(statistics[self.source].divergence[statistics.mask])
        kept = ~largest(-(h + d - h * d), 1 - self.keep)
        return Supervision([Term("importance", self.source, self.divergence, statistics.scatter(kept.float()))])


def _unit_range(values: Tensor) -> Tensor:
    if len(values) == 0:
        return values
    spread = values.max() - values.min()
    return (values - values.min()) / spread.where(spread > 0, 1.0)
