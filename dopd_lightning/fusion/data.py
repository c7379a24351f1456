"""The response itself as the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dopd_lightning.divergence.term import Divergence, Term
from dopd_lightning.fusion.rule import Supervision
from dopd_lightning.fusion.statistics import TokenStatistics


@dataclass(frozen=True, kw_only=True)
class Data:
    """Every token is drawn to the response's own token, ``-log student(y)``.

    Supervised fine-tuning on dataset completions, and sequence-level distillation on the teacher's rollouts (Kim &
    Rush, 2016). No source takes part.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        return Supervision([Term("data", "data", Divergence(kind="forward_kl"), statistics.mask.float())])
