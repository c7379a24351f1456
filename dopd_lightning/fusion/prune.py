"""Teacher, with some tokens left out by gap."""

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
    """The teacher, with a share of the batch's tokens left out: the experiment of DOPD's Fig. 4 (arXiv 2606.30626).

    Attributes:
        drop: which tokens: those of the largest gap (``top``), of the smallest (``bottom``), or ``random`` ones,
            drawn from torch's global generator.
        fraction: the floor(fraction * n) of n response tokens are left out; from 0 to 1.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> sorted(Prune(drop="top").needs)
        ['reference', 'teacher']
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
