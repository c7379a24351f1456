"""W&B logger with one W&B run for a run and its resumptions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger as LightningWandbLogger

from dopd_lightning.loggers.continued import ContinuedLogger
from dopd_lightning.loggers.wandb_file import read_records

_FLUSH_INTERVAL, _KEPT = 1.0, 30.0
"""Seconds between two writes of W&B's process to its file; seconds that a row is kept in case it was not written."""


class WandbLogger(ContinuedLogger, LightningWandbLogger):
    """Lightning's WandbLogger, which logs by training step and continues the W&B run of earlier attempts.

    W&B rejects rows of steps before its current one, so an online run cannot log a step twice. Offline, each attempt
    writes a file of its own, all with one id, and ``wandb sync`` joins them. Rows that earlier files have are skipped.
    Rows from shortly before the checkpoint, which W&B's process may not have written when it was killed, are restored
    from the checkpoint.

    Its arguments are Lightning's.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:  # nothing is logged: W&B's process does not start
        ...     logger = WandbLogger(save_dir=folder, offline=True)
        ...     logger.go_on({"id": "a1b2c3", "folders": [], "recent": []}, step=3)
        ...     logger.version
        'a1b2c3'
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        settings = options.get("settings")
        if settings is not None and hasattr(settings, "x_transaction_log_flush_interval"):
            settings.x_transaction_log_flush_interval = _FLUSH_INTERVAL
        self._folders: list[str] = []
        self._recent: list[tuple[float, int, dict[str, float]]] = []
        self._missing: list[tuple[int, dict[str, float]]] = []
        self._complete = -1  # last step that gets no further row
        self._past: int | None = None  # last step that W&B has; None until its run exists

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a row, unless an earlier attempt has logged its step."""
        run = self.experiment
        if step is None or getattr(run, "disabled", False) or self._wandb_init.get("sync_tensorboard"):
            super().log_metrics(metrics, step)
            return
        if self._past is None:
            self._catch_up(run)
        assert self._past is not None
        key = repr((step, sorted(metrics.items())))
        if step <= self._past or key == self._last:
            return
        self._last = key
        now, scalars = time.monotonic(), {name: x for name, x in metrics.items() if isinstance(x, int | float)}
        self._recent = [each for each in self._recent if now - each[0] < _KEPT] + [(now, step, scalars)]
        named = {
            f"{self._prefix}{self.LOGGER_JOIN_CHAR}{name}" if self._prefix else name: metrics[name] for name in metrics
        }
        run.log(named | {"trainer/global_step": step}, step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Finish as Lightning's logger does, but restore missing rows first if this attempt logged none."""
        if self._missing and self._past is None:
            self._catch_up(self.experiment)
        super().finalize(status)

    def _catch_up(self, run: Any) -> None:
        self._past = max(run.starting_step - 1, _last_step(self._files()))
        for earlier, row in self._missing:
            self.log_metrics(row, earlier)

    def state(self, step: int) -> dict[str, Any]:
        """Return the run's id, the folders of its files, and the rows that may not be in the files yet."""
        recent = [(each, row) for _, each, row in self._recent if each < step]
        if self._experiment is not None and not getattr(self._experiment, "disabled", False):
            if recent and recent[-1][0] > self._complete:
                self._complete = recent[-1][0]
                self._experiment.log({}, step=self._complete, commit=True)  # without this, W&B waits for the next step
            folder = str(Path(self._experiment.settings.sync_dir).absolute())
            self._folders = [*(each for each in self._folders if each != folder), folder]
        return {
            "kind": type(self).__name__,
            "id": self.version,
            "folders": self._folders,
            "recent": [*map(list, recent)],
        }

    def go_on(self, state: Mapping[str, Any] | None, step: int) -> None:
        """Continue the W&B run of earlier attempts, unless another ``id`` was given."""
        if state is None or state["id"] is None or self._id not in (None, state["id"]):
            return
        self._id = self._wandb_init["id"] = state["id"]
        self._folders = list(state["folders"])
        self._missing = [(each, dict(row)) for each, row in state["recent"]]

    def _files(self) -> list[Path]:
        """Return the files of earlier attempts: those that checkpoints name, and those in sibling folders."""
        assert self._experiment is not None
        own = Path(self._experiment.settings.sync_dir).resolve()
        folders = {Path(folder).resolve() for folder in self._folders}
        if self._folders and self.save_dir is not None:
            folders |= {path.resolve() for path in Path(self.save_dir).parent.glob(f"*/wandb/*run-*-{self.version}")}
        return [path for folder in folders - {own} for path in folder.glob("*.wandb")]


def _last_step(files: list[Path]) -> int:
    """Return the last step in W&B's files; -1 if there is none."""
    records = (record for path in files for record in read_records(path))
    return max((record.history.step.num for record in records if record.HasField("history")), default=-1)
