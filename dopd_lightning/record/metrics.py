"""Metrics computed from token records."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import Tensor
from torchmetrics import Metric

from dopd_lightning.distributed.processes import summed
from dopd_lightning.fusion import Regime
from dopd_lightning.record import TokenRecord
from dopd_lightning.record.names import (
    CUT_SHARE,
    EOS_SHARE,
    GAP,
    LENGTH,
    LOSS,
    divergence_name,
    entropy_name,
    in_training,
    logp_name,
    loss_share_name,
    of_regime,
    reward_name,
    reward_spread_name,
    share_name,
    unknown_name,
)


class RegimeCounts(Metric):
    """Number of response tokens in each regime over a whole run. Every process holds the counts of all processes."""

    full_state_update = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)
        self.add_state("counts", torch.zeros(len(Regime), dtype=torch.long))

    def update(self, regimes: Tensor) -> None:
        """Count the regimes ``(batch, response)``, -1 where masked. All processes have to call it."""
        self.counts += summed(torch.bincount(regimes[regimes >= 0].flatten(), minlength=len(Regime)))

    def compute(self) -> Tensor:
        """Return the counts ``(4,)``, in the order of :class:`~dopd_lightning.fusion.Regime`."""
        return self.counts

    def shares(self) -> dict[str, float]:
        """Return the share of each regime by name; empty before the first token."""
        counts = (self.compute() if self.update_called else self.counts).double()
        total = counts.sum().item()
        return {regime.name: counts[regime].item() / total for regime in Regime} if total else {}


class Accuracy(Metric):
    """Share of right answers. It keeps counts, which stay exact when a Trainer casts modules to bfloat16."""

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
        """Return the accuracy, in [0, 1]."""
        return self.right.float() / self.total


class StepMetrics:
    """Metrics of one optimizer step: means over the rollouts or the response tokens of all its micro-batches.

    docs/watching.md has their meanings and units. Quantities that the fusion rule does not need are left out, and so
    are the loss and the gap of a regime without tokens.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}  # by name: sum of the values, and their number

    def add(self, loss: Tensor, record: TokenRecord, max_new_tokens: int) -> None:
        """Add a micro-batch. All processes have to call it; a single collective sums all metrics.

        Args:
            loss: scalar, the loss of this process.
            record: record of this process's rollouts.
            max_new_tokens: length limit of responses, in tokens.
        """
        mask, device = record.mask, record.mask.device
        lengths = mask.sum(dim=1) if record.lengths is None else record.lengths
        ended = torch.zeros_like(lengths, dtype=torch.bool) if record.ended is None else record.ended
        of_rollouts = {
            LENGTH: lengths,
            CUT_SHARE: ~ended & (lengths >= max_new_tokens),
            EOS_SHARE: ended,
        }
        rows: dict[str, tuple[Tensor, Tensor | int]] = {LOSS: (loss, 1)}
        rows |= {name: (values.sum(), len(mask)) for name, values in of_rollouts.items()}
        rows |= {name: (values[mask].sum(), mask.sum()) for name, values in _of_tokens(record).items()}
        rows |= _of_rewards(record)
        if record.regimes is not None:
            size = record.loss.abs() * mask
            of_regimes = {LOSS: record.loss} | ({} if record.gap is None else {GAP: record.gap})
            for regime in Regime:
                there = record.regimes == regime
                rows[loss_share_name(regime)] = size[there].sum(), size.sum()
                rows |= {of_regime(name, regime): (v[there].sum(), there.sum()) for name, v in of_regimes.items()}
        pairs = [[torch.as_tensor(each, dtype=torch.float32, device=device) for each in row] for row in rows.values()]
        sums = summed(torch.stack([torch.stack(row) for row in pairs])).cpu().double()
        limits = {} if record.thresholds is None else asdict(record.thresholds)  # equal in all processes
        shared = {f"threshold/{name}": limits[name] for name in _THRESHOLDS if name in limits}
        pairs_by_name = dict(zip(rows, sums, strict=True))
        pairs_by_name |= {name: torch.tensor([value, 1], dtype=torch.double) for name, value in shared.items()}
        for name, pair in pairs_by_name.items():
            self._sums[name] = self._sums.get(name, 0) + pair

    def take(self) -> dict[str, float]:
        """Return the means by name, and reset for the next step."""
        sums, self._sums = {name: pair.tolist() for name, pair in self._sums.items()}, {}
        means = {name: total / count for name, (total, count) in sums.items() if count}
        for name in [name for name in means if name.endswith(_SQUARE)]:
            source, square = name.removesuffix(_SQUARE), means.pop(name)
            means[reward_spread_name(source)] = max(square - means[reward_name(source)] ** 2, 0.0) ** 0.5
        return {in_training(name): value for name, value in means.items()}


_SQUARE = "²"  # suffix of a source's mean squared reward, from which the spread is computed
_THRESHOLDS = ("gap", "teacher_prob", "reference_prob")


def _of_rewards(record: TokenRecord) -> dict[str, tuple[Tensor, Tensor | int]]:
    """Return sum and count, by name, of known rewards, of their squares, and of unknown rewards."""
    rows: dict[str, tuple[Tensor, Tensor | int]] = {}
    for source, given in record.rewards.items():
        values = given if given.ndim == 1 else given[record.mask]
        known = values[~values.isnan()]
        rows[reward_name(source)] = known.sum(), len(known)
        rows[f"{source}{_SQUARE}"] = known.square().sum(), len(known)
        rows[unknown_name(source)] = values.isnan().sum(), len(values)
    return rows


def _of_tokens(record: TokenRecord) -> dict[str, Tensor]:
    """Return the quantities to average over response tokens, by name, each ``(batch, response)``."""
    values: dict[str, Tensor] = {}
    for policy, logp in record.logp.items():
        values[logp_name(policy)] = logp
        if policy != "student":
            values[divergence_name(policy)] = record.logp["student"] - logp
        values[entropy_name(policy)] = record.entropy[policy]
    if record.gap is not None:
        values[GAP] = record.gap
    if record.regimes is not None:
        values |= {share_name(regime): record.regimes == regime for regime in Regime}
    return values
