"""A pool of sources as the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from dopd_lightning.divergence.source_target import DistributionTarget
from dopd_lightning.divergence.target import Target
from dopd_lightning.errors import ConfigError
from dopd_lightning.scores import PooledScores, RowScores
from dopd_lightning.scores.pooling import check_weights, pool


@dataclass(frozen=True, eq=False)
class Pool(DistributionTarget):
    """A distribution made of those of several sources.

    Linear: ``Σ w_i p_i``. Geometric (log-linear): proportional to ``Π p_i^w_i``.

    Attributes:
        weights: by source; each a number for all tokens or ``(batch, response)``. They sum to 1. Linear: at least 0.
            Geometric: a negative one extrapolates away from its source (ExOPD, arXiv 2602.12125).
        geometric: whether the pool is log-linear.

    Raises:
        ConfigError: for numbers out of range (tensors are not looked into), or no source.

    Example:
        >>> sorted(Pool({"maths": 0.75, "code": 0.25}).sources)
        ['code', 'maths']
    """

    weights: Mapping[str, float | Tensor]
    geometric: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.weights, Mapping):
            raise ConfigError(
                f"Pool: {self.weights!r} must be weights by source, such as {{'teacher': 0.5, 'reference': 0.5}}"
            )
        check_weights("Pool", self.weights, geometric=self.geometric)

    @property
    def sources(self) -> frozenset[str]:
        return frozenset(self.weights)

    def at(self, mask: Tensor) -> Target:
        of_tokens = {
            name: weight[mask] if isinstance(weight, Tensor) and weight.ndim else weight
            for name, weight in self.weights.items()
        }
        return replace(self, weights=of_tokens)

    def scores(self, sources: Mapping[str, RowScores]) -> RowScores:
        return PooledScores([(sources[name], weight) for name, weight in self.weights.items()], self.geometric)

    def logits(self, sources: Mapping[str, Tensor]) -> Tensor:
        return pool([(sources[name], weight) for name, weight in self.weights.items()], geometric=self.geometric)
