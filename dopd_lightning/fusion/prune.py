"""Teacher, at all tokens but a share chosen by gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from dopd_lightning.divergence import Term, Toward
from dopd_lightning.errors import check_choice, check_range
from dopd_lightning.fusion.ranking import largest
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence


@dataclass(frozen=True, kw_only=True)
class Prune(UniformDivergence):
    """Pull tokens toward the teacher, except a share chosen by gap: the experiment of DOPD's Fig. 4 (arXiv 2606.30626).

    Attributes:
        drop: tokens to leave out: those of largest gap (``top``), of smallest gap (``bottom``), or ``random`` ones
            drawn from torch's global generator.
        fraction: share of the batch's response tokens to leave out, at least 0 and below 1: floor(fraction * n) of n.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> probs = torch.tensor([[0.8, 0.2, 0.8, 0.5], [0.6, 0.1, 0.1, 0.5]])  # of 4 tokens under teacher, reference
        >>> teacher, reference = torch.stack([probs, 1 - probs], dim=-1).log().unsqueeze(1)
        >>> sources, ids = {"teacher": teacher, "reference": reference}, torch.zeros(1, 4).long()
        >>> statistics = TokenStatistics.from_logits(teacher, sources, ids, torch.ones(1, 4))
        >>> statistics.gap  # log(8 / 6), log 2, log 8, 0
        tensor([[0.2877, 0.6931, 2.0794, 0.0000]])
        >>> Prune(drop="top", fraction=0.25)(statistics).terms[0].weight
        tensor([[1., 1., 0., 1.]])
    """

    drop: Literal["top", "bottom", "random"] = "top"
    fraction: float = 0.2

    needs: ClassVar[frozenset[str]] = frozenset({"teacher", "reference"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("drop", self.drop, ("top", "bottom", "random"))
        check_range("fraction", self.fraction, at_least=0, below=1)  # at 1 no token is left

    @property
    def pairs(self) -> Sequence[Pair]:
        return [Pair(Toward("teacher"), self.divergence)]

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        gap = statistics.gap[statistics.mask]
        order = {"top": gap, "bottom": -gap}.get(self.drop)
        dropped = largest(torch.rand_like(gap) if order is None else order, self.fraction)
        return Supervision([Term("prune", "teacher", self.divergence, statistics.scatter((~dropped).float()))])
