"""Tokens a second, and memory."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import lightning as L
import torch

from dopd_lightning.record import TokenRecord
from dopd_lightning.record.names import TOKENS_PER_SECOND, in_training
from dopd_lightning.training.watcher import Watcher


class Speed(Watcher):
    """Logs, of each step, response tokens a second over all processes, and the most memory that a process has taken.

    ``train/tokens_per_second`` is of the whole step, all its micro-batches; ``…/rollout`` of writing responses alone,
    ``…/learning`` of the rest: scoring, loss, backward pass, optimizer. ``train/peak_memory`` is in GiB: allocated by
    torch on a CUDA device since the start, else the process's resident memory. The rate of the whole step is shown in
    the progress bar.
    """

    collective = frozenset({"on_train_batch_end"})  # its logging is

    def __init__(self) -> None:
        self._began = 0.0
        self._tokens = self._seconds = self._writing = 0.0  # of the step's micro-batches so far

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._tokens = self._seconds = self._writing = 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._began = _now(pl_module.device)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.off:
            with self.guarded():
                self._count(outputs["record"], pl_module.device)
        if trainer.fit_loop._should_accumulate():
            return
        rates = dict.fromkeys(_PARTS, math.nan)
        if not self.off:
            with self.guarded():
                rates = self._rates()
        self._tokens = self._seconds = self._writing = 0.0
        for part, rate in rates.items():
            name = in_training(f"{TOKENS_PER_SECOND}{part}")
            pl_module.log(name, rate, prog_bar=not part, batch_size=1, sync_dist=True, reduce_fx="sum")
        memory = _peak_memory(pl_module.device)
        if memory is not None:
            pl_module.log(in_training("peak_memory"), memory, batch_size=1, sync_dist=True, reduce_fx="max")

    def _count(self, record: TokenRecord, device: torch.device) -> None:
        self._seconds += _now(device) - self._began
        self._writing += record.rollout_seconds
        self._tokens += float(record.mask.sum())

    def _rates(self) -> dict[str, float]:
        """Tokens a second of each part. Processes take their steps together, so that their rates add up."""
        seconds = {"": self._seconds, "/rollout": self._writing, "/learning": self._seconds - self._writing}
        return {part: self._tokens / max(seconds[part], 1e-9) for part in _PARTS}


_PARTS = ("", "/rollout", "/learning")


def _now(device: torch.device) -> float:
    """Return the time once all work queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _peak_memory(device: torch.device) -> float | None:
    """GiB; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
