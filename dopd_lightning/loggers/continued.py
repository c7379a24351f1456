"""The part that all loggers of a resumed run share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

KEY = "logs"
"""A checkpoint's entry: the state of each logger, in the order of the Trainer's."""


class ContinuedLogger(Logger):
    """A logger that can go on from a checkpoint, and that ignores a row it was just given.

    A row is given twice when a checkpoint is saved: before it, so that a run that goes on from there has the row, and
    once more when Lightning logs the step.
    """

    _last = ""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = repr((step, sorted(metrics.items())))
        if row != self._last:
            self._last = row
            super().log_metrics(metrics, step)  # type: ignore[arg-type, safe-super]

    def state(self, step: int) -> dict[str, Any] | None:
        """Bring all rows of earlier steps to the disk, and return what a resumed run needs, in plain types.

        Args:
            step: number of the first step that nothing is logged of so far.
        """
        raise NotImplementedError

    def go_on(self, state: Mapping[str, Any] | None, step: int) -> None:
        """Keep the rows of steps before ``step``, and none of later ones. Call it before the Trainer runs.

        Args:
            state: of the logger that this one continues; None to look in its own folder alone.
            step: number of the first step that nothing was logged of.
        """
        raise NotImplementedError


def continued(loggers: Sequence[Logger]) -> list[ContinuedLogger]:
    """Those of ``loggers`` that a resumed run continues.

    Example:
        >>> from dopd_lightning.loggers import CSVLogger
        >>> from lightning.pytorch.loggers import CSVLogger as Plain
        >>> len(continued([CSVLogger("runs"), Plain("runs")]))
        1
    """
    return [logger for logger in loggers if isinstance(logger, ContinuedLogger)]


@rank_zero_only
def continue_loggers(loggers: Sequence[Logger], checkpoint: Mapping[str, Any] | None) -> None:
    """Have ``loggers`` go on where ``checkpoint`` was saved. Call it before the Trainer runs; rank 0 does the work.

    Args:
        loggers: the Trainer's.
        checkpoint: best of a run with :class:`~dopd_lightning.callbacks.ContinuedLogs`; None to begin at step 0.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from dopd_lightning.loggers import CSVLogger
        >>> with TemporaryDirectory() as folder:  # a new run: rows of an earlier attempt would be removed
        ...     continue_loggers([CSVLogger(folder)], checkpoint=None)
    """
    checkpoint = checkpoint or {}
    states = list(checkpoint.get(KEY, ()))
    for logger in continued(loggers):
        state = next((state for state in states if state["kind"] == type(logger).__name__), None)
        if state is not None:
            states.remove(state)
        logger.go_on(state, (state or {}).get("end", checkpoint.get("global_step", 0)))
