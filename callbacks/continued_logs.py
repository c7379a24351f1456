"""The logs of a run in a checkpoint, so that a resumed run continues them."""

from __future__ import annotations

from typing import Any

import lightning as L

from dopd_lightning.loggers.continued import KEY, continued


class ContinuedLogs(L.Callback):
    """Puts into each checkpoint what :func:`~dopd_lightning.loggers.continue_loggers` needs.

    All rows of steps that the checkpoint counts are logged before it is saved.
    """

    _ended = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._ended = False

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._ended = True

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        loggers = continued(trainer.loggers)
        batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        if batches.processed > batches.completed:
            # Saved at a batch's end, after which Lightning logs its step. (Loggers ignore that row then.)
            everyone, trainer.loggers = trainer.loggers, loggers  # type: ignore[assignment]
            try:
                trainer._logger_connector.update_train_step_metrics()
            finally:
                trainer.loggers = everyone
        if trainer.is_global_zero:
            end = trainer.global_step + self._ended  # callbacks have logged what they had to say of the end
            states = [logger.state(end) for logger in loggers]
            # None is of a logger that is switched off.
            checkpoint[KEY] = [{**state, "end": end} for state in states if state is not None]
