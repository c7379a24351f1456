"""A fusion rule of one's own, which remembers: the teacher, where it is further from the student than it used to be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dopd_lightning.distributed.processes import summed
from dopd_lightning.divergence import Divergence, Term, Toward
from dopd_lightning.fusion import Pair, Supervision, TokenStatistics


class RunningGap(nn.Module):
    """Weights tokens by whether log teacher(y) - log student(y) is, in size, above its mean over the steps so far.

    A rule that is a module is saved in checkpoints with its weights and buffers, and resumed; after each step these are
    averaged over processes.

    Args:
        momentum: share of the mean that a step keeps.
        others: weight of tokens below the mean.
    """

    mean: Tensor
    needs = frozenset({"teacher"})

    def __init__(self, momentum: float = 0.9, others: float = 0.1) -> None:
        super().__init__()
        self.momentum, self.others = momentum, others
        self.register_buffer("mean", torch.zeros(()))

    @property
    def pairs(self) -> Sequence[Pair]:
        """The targets and divergences of its terms: known before there is a token."""
        return [Pair(Toward("teacher"), Divergence())]

    def forward(self, statistics: TokenStatistics) -> Supervision:
        """The terms for these tokens."""
        mask = statistics.mask
        gap = (statistics["teacher"].logp - statistics["student"].logp).abs()
        weight = torch.where(gap > self.mean, 1.0, self.others) * mask
        total, count = summed(torch.stack([(gap * mask).sum(), mask.sum().float()]))  # of all processes
        if count > 0:
            self.mean.lerp_(total / count, 1 - self.momentum)
        return Supervision([Term("running_gap", "teacher", Divergence(), weight)])
