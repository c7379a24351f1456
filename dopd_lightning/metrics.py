"""Metrics over token records."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from dopd_lightning.fusion import Regime
from dopd_lightning.record import TokenRecord


class RegimeCounts(Metric):
    """How many response tokens fell into each regime, over a whole run: it is kept in checkpoints."""

    full_state_update = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(len(Regime), dtype=torch.long), dist_reduce_fx="sum", persistent=True)

    def update(self, regimes: Tensor) -> None:
        """Count; ``regimes`` is ``(batch, response)``, -1 where masked."""
        self.counts += torch.bincount(regimes[regimes >= 0].flatten(), minlength=len(Regime))

    def compute(self) -> Tensor:
        """Counts in the order of :class:`~dopd_lightning.fusion.Regime`, ``(4,)``."""
        return self.counts

    def shares(self) -> dict[str, float]:
        """Share of each regime by name; empty before the first token."""
        counts = (self.compute() if self.update_called else self.counts).double()
        total = counts.sum().item()
        return {regime.name: counts[regime].item() / total for regime in Regime} if total else {}


class Accuracy(Metric):
    """Share of right answers. Counts, not a running mean: those stay exact when a Trainer casts modules to bfloat16."""

    full_state_update = False
    right: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("right", "total"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, right: bool) -> None:
        """Count one answer."""
        self.right += int(right)
        self.total += 1

    def compute(self) -> Tensor:
        """In [0, 1]."""
        return self.right.float() / self.total


def step_metrics(record: TokenRecord, max_new_tokens: int) -> dict[str, Tensor]:
    """What one step logs, by name.

    Returns:
        ``train/response_length`` (mean, tokens), ``train/cut_share`` (responses that reached the length limit),
        ``train/student_logp`` (mean over response tokens, nats), and where both sources scored, ``train/gap`` (mean,
        nats) and ``train/share/<regime>``.
    """
    mask = record.mask
    lengths = mask.sum(dim=1).float()
    tokens = mask.sum().clamp(min=1)
    values = {
        "train/response_length": lengths.mean(),
        "train/cut_share": (lengths >= max_new_tokens).float().mean(),
        "train/student_logp": (record.student_logp * mask).sum() / tokens,
        "train/student_entropy": (record.student_entropy * mask).sum() / tokens,
    }
    if record.gap is not None:
        values["train/gap"] = (record.gap * mask).sum() / tokens
    if record.regimes is not None:
        for regime in Regime:
            values[f"train/share/{regime.name}"] = (record.regimes == regime).sum() / tokens
    return values
