"""Linear pool of sources, weighted by their confidence."""

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
    """Pull every token toward a linear pool of sources, weighted per token by their entropies (ours).

    ``w_i = exp(-H_i) / Σ exp(-H_j)``, with H_i the entropy of source i in nats. The weight is proportional to the
    inverse of the source's perplexity.

    Attributes:
        sources: names of the sources, at least one.

    Raises:
        ConfigError: for a field out of range, or no source.

    Example:
        >>> student, unsure, sure = torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), torch.tensor([[[50.0, 0.0]]])
        >>> ids, mask = torch.tensor([[0]]), torch.tensor([[True]])
        >>> statistics = TokenStatistics.from_logits(student, {"teacher": unsure, "reference": sure}, ids, mask)
        >>> Confidence()(statistics).terms[0].target.weights  # perplexities 2 and 1
        {'teacher': tensor([[0.3333]]), 'reference': tensor([[0.6667]])}
    """

    sources: Sequence[str] = ("teacher", "reference")

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.sources, str) or not self.sources:
            raise ConfigError(f"sources: {self.sources!r} must be a list of names, such as [teacher, reference]")
        if len({*self.sources}) < len(self.sources):
            raise ConfigError(f"sources: {list(self.sources)} names a source twice; name each one once")

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
