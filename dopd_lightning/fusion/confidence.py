"""Mixture that trusts the surer source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dopd_lightning.divergence import Pool, Term
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence


@dataclass(frozen=True, kw_only=True)
class Confidence(UniformDivergence):
    """`Mixture` with weights per token from the sources' entropies (ours).

    ``w_i = exp(-H_i) / Σ exp(-H_j)``: each source counts by the inverse of its perplexity.

    Attributes:
        sources: names, at least one.

    Raises:
        ConfigError: for a field out of range, or no source.

    Example:
        >>> sorted(Confidence(sources=["maths", "code"]).needs)
        ['code', 'maths']
    """

    sources: Sequence[str] = ("teacher", "reference")

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.sources, str) or not self.sources:
            raise ConfigError(f"sources: {self.sources!r} must be a list of names, such as [teacher, reference]")
        if len({*self.sources}) < len(self.sources):
            raise ConfigError(f"sources: {list(self.sources)} names one twice; name each once")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(self.sources)

    @property
    def pairs(self) -> Sequence[Pair]:
        return [Pair(Pool(dict.fromkeys(self.sources, 1 / len(self.sources))), self.divergence)]

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        entropies = torch.stack([statistics[name].entropy for name in self.sources])
        weights = dict(zip(self.sources, (-entropies).softmax(0), strict=True))
        return Supervision([Term("confidence", Pool(weights), self.divergence, statistics.mask.float())])
