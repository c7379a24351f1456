"""What a fusion rule is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from dopd_lightning.divergence.term import Term
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


class FusionRule(Protocol):
    """Turns the statistics of a batch's response tokens into supervision for each. Any such callable is a rule.

    It is also called, or rather a copy of it, on made-up tokens, before training: see `terms_of`.
    """

    @property
    def needs(self) -> frozenset[str]:
        """The sources it uses, of ``teacher`` and ``reference``; the others need no forward pass."""

    def __call__(self, statistics: TokenStatistics, /) -> Supervision:
        """The terms for these tokens."""
