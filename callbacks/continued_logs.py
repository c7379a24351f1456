"""The logs of a run in a checkpoint, so that a resumed run continues them."""

from __future__ import annotations

from typing import Any

import lightning as L

from dopd_lightning.loggers.continued import KEY, continued


class ContinuedLogs(L.Callback):
    """Puts into each checkpoint what :func:`~dopd_lightning.loggers.continue_loggers` needs.

    All rows of steps that the checkpoint counts are logged before it is saved.
    """

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
            states = [logger.state(trainer.global_step) for logger in loggers]
            checkpoint[KEY] = [state for state in states if state is not None]  # of a logger that is switched off
