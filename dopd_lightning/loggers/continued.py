"""Base class of loggers that a resumed run continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

KEY = "logs"
"""Key of a checkpoint that holds the state of each logger, in the order of the Trainer's loggers."""


class ContinuedLogger(Logger):
    """Base class of loggers that continue from a checkpoint and ignore a row that repeats the last one.

    A row comes twice if a checkpoint is saved at its step: once before the checkpoint, so that a run resumed from there
    has the row, and once more when Lightning logs the step.
    """

    _last = ""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = repr((step, sorted(metrics.items())))
        if row != self._last:
            self._last = row
            super().log_metrics(metrics, step)  # type: ignore[arg-type, safe-super]

    def state(self, step: int) -> dict[str, Any] | None:
        """Write all rows of earlier steps to disk, and return the state that a resumed run needs, in plain types.

        Args:
            step: first step without a row so far.
        """
        raise NotImplementedError

    def go_on(self, state: Mapping[str, Any] | None, step: int) -> None:
        """Keep the rows of steps before ``step`` and discard later ones; to be called before the Trainer runs.

        Args:
            state: state of the logger that this one continues; None to look in its own folder only.
            step: first step that is to be logged.
        """
        raise NotImplementedError


def continued(loggers: Sequence[Logger]) -> list[ContinuedLogger]:
    """Return the loggers that a resumed run continues.

    Example:
        >>> from dopd_lightning.loggers import CSVLogger
        >>> from lightning.pytorch.loggers import CSVLogger as Plain
        >>> [logger.name for logger in continued([CSVLogger("runs", name="kept"), Plain("runs", name="deleted")])]
        ['kept']
    """
    return [logger for logger in loggers if isinstance(logger, ContinuedLogger)]


@rank_zero_only
def continue_loggers(loggers: Sequence[Logger], checkpoint: Mapping[str, Any] | None) -> None:
    """Resume loggers where a checkpoint was saved. Call it before the Trainer runs; only rank 0 does the work.

    Args:
        loggers: loggers of the Trainer.
        checkpoint: checkpoint, preferably of a run with :class:`~dopd_lightning.callbacks.ContinuedLogs`, which adds
            the loggers' states; None to begin at step 0.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from dopd_lightning.loggers import CSVLogger
        >>> with TemporaryDirectory() as folder:  # step 1 was logged, but the checkpoint is from before it
        ...     _ = Path(folder, "metrics.csv").write_text("step,loss\\n0,3.0\\n1,2.0\\n")
        ...     continue_loggers([CSVLogger(folder, name="", version="")], checkpoint={"global_step": 1})
        ...     print(Path(folder, "metrics.csv").read_text().split())
        ['step,loss', '0,3.0']
    """
    checkpoint = checkpoint or {}
    states = list(checkpoint.get(KEY, ()))
    for logger in continued(loggers):
        state = next((state for state in states if state["kind"] == type(logger).__name__), None)
        if state is not None:
            states.remove(state)
        logger.go_on(state, (state or {}).get("end", checkpoint.get("global_step", 0)))
