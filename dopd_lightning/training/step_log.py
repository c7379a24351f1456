"""Logging of a step's metrics when the optimizer steps."""

from __future__ import annotations

import lightning as L
from torch import Tensor

from dopd_lightning.record import TokenRecord
from dopd_lightning.record.metrics import StepMetrics
from dopd_lightning.record.names import LOSS, in_training


class StepLog:
    """Collect the metrics of a step's micro-batches, and log their means.

    Args:
        max_new_tokens: length limit of responses.
    """

    def __init__(self, max_new_tokens: int) -> None:
        self.max_new_tokens = max_new_tokens
        self._metrics = StepMetrics()
        self._logged: set[str] = set()  # names of the last step's metrics

    def begin(self) -> None:
        """Discard the micro-batches of an interrupted step."""
        self._metrics = StepMetrics()

    def __call__(self, module: L.LightningModule, loss: Tensor, record: TokenRecord) -> None:
        """Add a micro-batch, and log at the end of a step; every process calls it."""
        self._metrics.add(loss, record, self.max_new_tokens)
        if module.trainer.fit_loop._should_accumulate():  # Lightning logs when the optimizer steps
            return
        metrics = self._metrics.take()
        self._forget(module.trainer, self._logged - metrics.keys())
        self._logged = set(metrics)
        name = in_training(LOSS)
        module.log(name, metrics.pop(name), prog_bar=True, batch_size=1)
        module.log_dict(metrics, batch_size=1)

    @staticmethod
    def _forget(trainer: L.Trainer, names: set[str]) -> None:
        """Remove values of the previous step that this one lacks from Lightning's results.

        Lightning would log them again, such as the loss of a regime that now has no token.
        """
        for key, result in (trainer._results or {}).items():
            if key.partition(".")[2] in names:
                result.reset()
        for name in names:
            trainer.callback_metrics.pop(name, None)
