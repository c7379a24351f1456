"""Linear pool of sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from dopd_lightning.divergence import Pool, Term
from dopd_lightning.errors import check_range
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence
from dopd_lightning.scores.pooling import check_weights


@dataclass(frozen=True, kw_only=True)
class Mixture(UniformDivergence):
    """Pull every token toward a linear pool, ``λ teacher + (1 - λ) reference``, or one of other sources.

    Attributes:
        teacher_weight: λ, from 0 to 1.
        weights: weight of each source, for any number of sources, instead of λ: at least 0, with a sum of 1.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> import torch
        >>> target = Mixture(teacher_weight=0.75).pool
        >>> target.weights
        {'teacher': 0.75, 'reference': 0.25}
        >>> sources = {"teacher": torch.tensor([[0.8, 0.2]]).log(), "reference": torch.tensor([[0.4, 0.6]]).log()}
        >>> target.logits(sources).softmax(-1)  # 0.75 * 0.8 + 0.25 * 0.4, and the rest
        tensor([[0.7000, 0.3000]])
    """

    teacher_weight: float = 0.5
    weights: Mapping[str, float] | None = None

    geometric: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("teacher_weight", self.teacher_weight, at_least=0, at_most=None if self.geometric else 1)
        if self.weights is not None:
            check_weights("weights", self.weights, geometric=self.geometric)

    @property
    def pool(self) -> Pool:
        """Pool of sources that is the target."""
        of_two = {"teacher": self.teacher_weight, "reference": 1 - self.teacher_weight}
        return Pool(of_two if self.weights is None else dict(self.weights), self.geometric)

    @property
    def needs(self) -> frozenset[str]:
        return self.pool.sources

    @property
    def pairs(self) -> Sequence[Pair]:
        return [Pair(self.pool, self.divergence)]

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        return Supervision([Term(type(self).__name__.lower(), self.pool, self.divergence, statistics.mask.float())])
