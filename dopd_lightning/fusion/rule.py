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
    """Result of a fusion rule for a batch.

    Attributes:
        terms: terms of the loss. The loss of a token is their weighted sum; weights are 0 where masked.
        regimes: ``(batch, response)``, int64, -1 where masked; None from a rule that does not route.
        thresholds: thresholds of the routing; None from a rule that does not route.
        advantage: ``(batch, response)``, signed; None from a rule without a policy gradient.

    Example:
        >>> import torch
        >>> weights = {"teacher": torch.tensor([[0.7, 1.0, 0.0]]), "reference": torch.tensor([[0.3, 0.0, 0.0]])}
        >>> supervision = Supervision([Term(name, name, Divergence(), each) for name, each in weights.items()])
        >>> sum(term.weight for term in supervision.terms)  # the last token has no loss
        tensor([[1., 1., 0.]])
    """

    terms: list[Term]
    regimes: Tensor | None = None
    thresholds: Thresholds | None = None
    advantage: Tensor | None = None


class Pair(NamedTuple):
    """Target and divergence of a term.

    Example:
        >>> from dopd_lightning.fusion import Teacher
        >>> target, divergence = Teacher(source="maths", kind="js").pairs[0]
        >>> target, divergence.kind
        (Toward(name='maths'), 'js')
    """

    target: Target
    divergence: Divergence


class FusionRule(Protocol):
    """Fusion rule: any callable that maps the statistics of a batch's response tokens to their supervision.

    A rule may also declare ``pairs``, a sequence of `Pair`: the targets and divergences that its terms can have. A rule
    without ``pairs`` is called on random tokens before training instead, see `pairs_of`. A rule that uses rewards
    declares ``rewards``: those names in ``needs`` whose sources give rewards instead of distributions.
    """

    @property
    def needs(self) -> frozenset[str]:
        """Names of the sources that the rule uses; other sources get no forward pass."""

    def __call__(self, statistics: TokenStatistics, /) -> Supervision:
        """Return the terms for these tokens."""
