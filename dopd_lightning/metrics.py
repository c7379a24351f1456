"""Metrics over token records."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from dopd_lightning.fusion import Regime
from dopd_lightning.processes import number_of_processes, summed
from dopd_lightning.record import TokenRecord


class RegimeCounts(Metric):
    """How many response tokens fell into each regime, over a whole run. Each process holds the counts of all."""

    full_state_update = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)
        self.add_state("counts", torch.zeros(len(Regime), dtype=torch.long))

    def update(self, regimes: Tensor) -> None:
        """Count; ``regimes`` is ``(batch, response)``, -1 where masked. Every process has to call it."""
        self.counts += summed(torch.bincount(regimes[regimes >= 0].flatten(), minlength=len(Regime)))

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


def step_metrics(loss: Tensor, record: TokenRecord, max_new_tokens: int) -> dict[str, Tensor]:
    """What one step logs, by name: means over the rollouts or tokens of all processes, each of which has to call it.

    Returns:
        ``train/loss``, ``train/response_length`` (mean, tokens), ``train/cut_share`` (responses that reached the length
        limit), ``train/student_logp`` (mean over response tokens, nats), ``train/student_entropy`` (likewise), and
        where both sources scored, ``train/gap`` (mean, nats) and ``train/share/<regime>``.
    """
    mask = record.mask
    lengths = mask.sum(dim=1)
    rollouts, tokens = torch.tensor(len(mask), device=mask.device), mask.sum()
    of_rollouts = {"response_length": lengths, "cut_share": lengths >= max_new_tokens}
    of_tokens = {"student_logp": record.student_logp, "student_entropy": record.student_entropy}
    if record.gap is not None:
        of_tokens["gap"] = record.gap
    if record.regimes is not None:
        of_tokens |= {f"share/{regime.name}": record.regimes == regime for regime in Regime}
    sums = {
        "loss": loss / number_of_processes(),
        **{name: values.sum() for name, values in of_rollouts.items()},
        **{name: values[mask].sum() for name, values in of_tokens.items()},
    }
    counted = summed(torch.stack([each.float() for each in (rollouts, tokens, *sums.values())]))
    count = dict.fromkeys(of_rollouts, counted[0]) | dict.fromkeys(of_tokens, counted[1])
    return {
        f"train/{name}": (value / count[name].clamp(min=1) if name in count else value)
        for name, value in zip(sums, counted[2:], strict=True)
    }
