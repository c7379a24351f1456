"""Pool of several sources, as one source."""

from __future__ import annotations

from collections.abc import Mapping

from transformers import PreTrainedModel

from dopd_lightning.errors import ConfigError
from dopd_lightning.scores import Scores, pooled
from dopd_lightning.scores.pooling import check_weights
from dopd_lightning.sources.composite import Several
from dopd_lightning.sources.named import AnySource
from dopd_lightning.sources.source import ScoringRequest


class Ensemble(Several):
    """Source whose distribution is a pool of its members', each of which scores every response.

    Args:
        members: members by name: sources, causal language models, their paths or Hub names, or kinds.
        weights: weight of each member, with a sum of 1; equal if not given. A linear pool needs weights of at least 0.
            In a log-linear pool, a negative weight extrapolates away from its member (ExOPD, arXiv 2602.12125).
        geometric: True for a log-linear pool, ``∝ Π p_i^w_i``, False for a linear one, ``Σ w_i p_i``.
        shown: probability, for each example, that the members see privileged text.

    Raises:
        ConfigError: if ``weights`` does not name the members, or a weight is out of range.

    Example:
        >>> Ensemble({"start": "snapshot", "slow": "ema"}).weights
        {'start': 0.5, 'slow': 0.5}
    """

    def __init__(
        self,
        members: Mapping[str, AnySource],
        weights: Mapping[str, float] | None = None,
        geometric: bool = False,
        shown: float | None = None,
    ) -> None:
        super().__init__(members, shown)
        if not isinstance(weights, Mapping | None):
            raise ConfigError(f"weights: {weights!r} must be numbers by member, or null")
        if not isinstance(geometric, bool):
            raise ConfigError(f"geometric: {geometric!r} must be true or false")
        self.weights = dict.fromkeys(members, 1 / len(members)) if weights is None else dict(weights)
        if self.weights.keys() != set(members):
            raise ConfigError(
                f"weights: they name {', '.join(sorted(self.weights))}, but the members are "
                f"{', '.join(sorted(members))}; give each member one weight"
            )
        check_weights("weights", self.weights, geometric=geometric)
        self.geometric = geometric

    def scores(self, student: PreTrainedModel, request: ScoringRequest) -> Scores:
        weighted = [(member.scores(student, request), self.weights[name]) for name, member in self.items()]
        return pooled(weighted, geometric=self.geometric)
