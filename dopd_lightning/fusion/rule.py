"""What a fusion rule is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from dopd_lightning.divergence.term import Divergence, Term
from dopd_lightning.fusion.routing import Thresholds
from dopd_lightning.fusion.statistics import TokenStatistics


@dataclass(frozen=True, eq=False)
class Supervision:
    """What a rule decided for a batch.

    Attributes:
        terms: the loss of a token is the sum over these; weights are 0 where masked.
        regimes: ``(batch, response)``, int64, -1 where masked, from rules that route.
        thresholds: what these rules compared tokens with.
    """

    terms: list[Term]
    regimes: Tensor | None = None
    thresholds: Thresholds | None = None


def table_sizes(divergence: Divergence, *sources: str) -> dict[str, int]:
    """Whose likeliest tokens are worth keeping, and how many, for a divergence from each of ``sources``."""
    if divergence.support != "top_k" or not sources:
        return {}
    if divergence.top_k_of == "target":
        return dict.fromkeys(sources, divergence.top_k)
    # The student's: only a renormalized term does without the rest of its distribution.
    return {"student": divergence.top_k} if divergence.tail == "renormalize" else {}


class FusionRule(Protocol):
    """Turns the statistics of a batch's response tokens into supervision for each. Any such callable is a rule.

    It may also have an attribute ``tables``: of which policies its terms compare top-K distributions, and the K, as
    `table_sizes` makes it. Their likeliest tokens are then kept from the pass that scores them, and need no second one.
    """

    @property
    def needs(self) -> frozenset[str]:
        """The sources it uses, of ``teacher`` and ``reference``; the others need no forward pass."""

    def __call__(self, statistics: TokenStatistics, /) -> Supervision:
        """The terms for these tokens."""
