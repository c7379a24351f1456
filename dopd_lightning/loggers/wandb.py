"""One W&B run for one run, in however many attempts it was made."""

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
"""Seconds between two writes of W&B's process to its file; seconds that a row is kept, in case it is not written."""


class WandbLogger(ContinuedLogger, LightningWandbLogger):
    """Lightning's, with W&B's step the training step, and with the earlier attempts' run to go on with.

    W&B takes no row of a step that it is past. So a resumed run, online, cannot log a step twice. Offline, each attempt
    has a file of its own; the rows that are in the earlier ones are left out, and those that were logged shortly before
    the checkpoint, and that W&B's process had not written when it was killed, come from the checkpoint.
    ``wandb sync`` joins the files, which have one id.

    Args:
        as Lightning's.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        settings = options.get("settings")
        if settings is not None and hasattr(settings, "x_transaction_log_flush_interval"):
            settings.x_transaction_log_flush_interval = _FLUSH_INTERVAL
        self._folders: list[str] = []
        self._recent: list[tuple[float, int, dict[str, float]]] = []
        self._missing: list[tuple[int, dict[str, float]]] = []
        self._complete = -1  # the last step that no row will be added to
        self._past: int | None = None  # the last step that W&B has; not known before its run is there

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
        """End as Lightning's logger does, with the rows of earlier attempts also where none was added to them."""
        if self._missing and self._past is None:
            self._catch_up(self.experiment)
        super().finalize(status)

    def _catch_up(self, run: Any) -> None:
        self._past = max(run.starting_step - 1, _last_step(self._files()))
        for earlier, row in self._missing:
            self.log_metrics(row, earlier)

    def state(self, step: int) -> dict[str, Any]:
        """The run's id, where its files are, and the rows that may not be in them yet."""
        recent = [(each, row) for _, each, row in self._recent if each < step]
        if self._experiment is not None and not getattr(self._experiment, "disabled", False):
            if recent and recent[-1][0] > self._complete:
                self._complete = recent[-1][0]
                self._experiment.log({}, step=self._complete, commit=True)  # W&B waits for the next step otherwise
            folder = str(Path(self._experiment.settings.sync_dir).absolute())
            self._folders = [*(each for each in self._folders if each != folder), folder]
        return {
            "kind": type(self).__name__,
            "id": self.version,
            "folders": self._folders,
            "recent": [*map(list, recent)],
        }

    def go_on(self, state: Mapping[str, Any] | None, step: int) -> None:
        """Go on with the W&B run of the earlier attempts, unless another was asked for by ``id``."""
        if state is None or state["id"] is None or self._id not in (None, state["id"]):
            return
        self._id = self._wandb_init["id"] = state["id"]
        self._folders = list(state["folders"])
        self._missing = [(each, dict(row)) for each, row in state["recent"]]

    def _files(self) -> list[Path]:
        """Files of all attempts: those that checkpoints name, and those in folders beside this run's."""
        assert self._experiment is not None
        own = Path(self._experiment.settings.sync_dir).resolve()
        folders = {Path(folder).resolve() for folder in self._folders}
        if self._folders and self.save_dir is not None:
            folders |= {path.resolve() for path in Path(self.save_dir).parent.glob(f"*/wandb/*run-*-{self.version}")}
        return [path for folder in folders - {own} for path in folder.glob("*.wandb")]


def _last_step(files: list[Path]) -> int:
    """The last step in W&B's files, -1 without any."""
    records = (record for path in files for record in read_records(path))
    return max((record.history.step.num for record in records if record.HasField("history")), default=-1)
