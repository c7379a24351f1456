"""Cross-entropy to the response's own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from dopd_lightning.divergence import TO_OWN_TOKEN, OwnToken, Term
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics


@dataclass(frozen=True, kw_only=True)
class Data:
    """Minimise the cross-entropy ``-log student(y)`` of the response's own tokens y.

    This is supervised fine-tuning on dataset completions, and sequence-level distillation on the teacher's rollouts
    (Kim & Rush, 2016). The rule uses no source.

    Example:
        >>> import torch
        >>> from dopd_lightning.divergence import token_losses
        >>> student, ids, mask = torch.tensor([[[0.25, 0.75]]]).log(), torch.tensor([[1]]), torch.tensor([[True]])
        >>> terms = Data()(TokenStatistics.from_logits(student, {}, ids, mask)).terms
        >>> token_losses(student, {}, ids, terms)  # -log 0.75
        tensor([[0.2877]])
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def pairs(self) -> Sequence[Pair]:
        return [Pair(OwnToken(), TO_OWN_TOKEN)]

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        return Supervision([Term("data", *self.pairs[0], statistics.mask.float())])
