"""The response itself as the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from dopd_lightning.divergence import TO_OWN_TOKEN, OwnToken, Term
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics


@dataclass(frozen=True, kw_only=True)
class Data:
    """Every token is drawn to the response's own token, ``-log student(y)``.

    Supervised fine-tuning on dataset completions, and sequence-level distillation on the teacher's rollouts (Kim &
    Rush, 2016). No source takes part.

    Example:
        >>> Data().pairs[0].divergence.kind, Data().needs
        ('forward_kl', frozenset())
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def pairs(self) -> Sequence[Pair]:
        return [Pair(OwnToken(), TO_OWN_TOKEN)]

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        return Supervision([Term("data", *self.pairs[0], statistics.mask.float())])
