"""Construction of a learning rate scheduler."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim import Optimizer

from dopd_lightning.errors import ConfigError

_LATE = 10**9
"""Step after any warm-up."""


def scheduler_over(trainer: L.Trainer, make: Callable[..., Any], optimizer: Optimizer) -> Any:
    """Make the scheduler of a run.

    Args:
        trainer: Trainer of the run, which determines the number of optimizer steps.
        make: ``(optimizer=…, num_training_steps=…)`` -> scheduler. The number is None if it is unknown; a constant rate
            does not need it.
        optimizer: optimizer whose learning rates are scheduled.

    Raises:
        ConfigError: if the scheduler needs the number and it is unknown.
    """
    steps = _number_of_steps(trainer)
    if steps is not None:
        return make(optimizer=optimizer, num_training_steps=steps)
    try:
        scheduler = make(optimizer=optimizer, num_training_steps=None)
        for rate in getattr(scheduler, "lr_lambdas", ()):  # also after a warm-up
            rate(_LATE)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"trainer.max_steps: {trainer.max_steps}; the scheduler needs the number of optimizer steps, but the "
            "data have no length (a stream, say), or trainer.max_epochs no limit; give trainer.max_steps, or choose "
            "scheduler=constant"
        ) from error
    return scheduler


def _number_of_steps(trainer: L.Trainer) -> int | None:
    """Return the number of optimizer steps of the whole run; None if it is unknown."""
    changes = any(isinstance(callback, GradientAccumulationScheduler) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    if changes and trainer.max_steps < 0:  # Lightning would use the first epoch's accumulation for all epochs
        return None
    steps = trainer.estimated_stepping_batches
    return int(steps) if 0 <= steps < math.inf else None
