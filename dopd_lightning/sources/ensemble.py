"""Several sources as one."""

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
    """A pool of sources, each of which scores every response.

    Args:
        members: by name: sources, causal language models or where these are found, or kinds.
        weights: by member; they sum to 1, and are equal if not given. Of a linear pool they are at least 0; a negative
            one of a log-linear pool extrapolates away from its member (ExOPD, arXiv 2602.12125).
        geometric: whether the pool is log-linear, ``Π p_i^w_i``, instead of ``Σ w_i p_i``.
        shown: probability, for each example, that the members see privileged text.

    Raises:
        ConfigError: for names that differ, or weights out of range.

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
        if not isinstance(weights, Mapping | None) or not isinstance(geometric, bool):
            raise ConfigError(
                f"weights: {weights!r} must be numbers by member, or null, and geometric: {geometric!r} true or false"
            )
        self.weights = dict.fromkeys(members, 1 / len(members)) if weights is None else dict(weights)
        if self.weights.keys() != set(members):
            raise ConfigError(
                f"weights: they are of {', '.join(sorted(self.weights))}, and the members are "
                f"{', '.join(sorted(members))}; give one to each"
            )
        check_weights("weights", self.weights, geometric=geometric)
        self.geometric = geometric

    def scores(self, student: PreTrainedModel, request: ScoringRequest) -> Scores:
        whole = [(member.scores(student, request), self.weights[name]) for name, member in self.items()]
        return pooled(whole, geometric=self.geometric)
