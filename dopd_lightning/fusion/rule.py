"""Interface of a fusion rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from dopd_lightning.divergence import Divergence, Target, Term
from dopd_lightning.fusion.routing import Thresholds
from dopd_lightning.fusion.statistics import TokenStatistics


@dataclass(frozen=True, eq=False)
class Supervision:
    """Decisions of a fusion rule for a batch.

    Attributes:
        terms: the loss of a token is the sum over these; weights are 0 where masked.
        regimes: ``(batch, response)``, int64, -1 where masked, from rules that route.
        thresholds: of rules that route.
        advantage: ``(batch, response)``, signed, of rules with a policy gradient.
    """

    terms: list[Term]
    regimes: Tensor | None = None
    thresholds: Thresholds | None = None
    advantage: Tensor | None = None


class Pair(NamedTuple):
    """Target and divergence of a term."""

    target: Target
    divergence: Divergence


class FusionRule(Protocol):
    """Fusion rule: any callable that turns the statistics of a batch's response tokens into their supervision.

    A rule may also declare ``pairs``, a sequence of `Pair`: the targets and divergences that its terms can have. One
    that does not is tried on made-up tokens before training, see `pairs_of`. A rule that uses rewards declares
    ``rewards``: those names among ``needs`` whose sources give rewards instead of distributions.
    """

    @property
    def needs(self) -> frozenset[str]:
        """Names of the sources that it uses; the others need no forward pass."""

    def __call__(self, statistics: TokenStatistics, /) -> Supervision:
        """Return the terms for these tokens."""
