"""One source, at the most informative tokens."""

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
    """Pull only the most informative tokens toward one source (TIP, arXiv 2604.14084).

    A token is informative if the student is unsure, or if it is sure but far from the source. The score is the Soft-OR
    ``h + d - h d``, with h the student's entropy and d its reverse KL to the source, each scaled to [0, 1] over the
    batch's response tokens (the scaling is ours).

    Attributes:
        source: name of the source.
        keep: share of the batch's response tokens to train on, above 0 and at most 1; their number is rounded up.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> import torch
        >>> student = torch.tensor([[[0.5, 0.5], [0.9, 0.1], [0.9, 0.1]]]).log()  # unsure, sure, sure
        >>> teacher = torch.tensor([[[0.5, 0.5], [0.1, 0.9], [0.9, 0.1]]]).log()  # the student is wrong at token 1
        >>> ids, mask = torch.zeros(1, 3).long(), torch.ones(1, 3)
        >>> statistics = TokenStatistics.from_logits(student, {"teacher": teacher}, ids, mask)
        >>> Importance(keep=0.6)(statistics).terms[0].weight  # the scores are 1, 1 and 0
        tensor([[1., 1., 0.]])
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
