"""A learning rate over the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim import Optimizer

from dopd_lightning.errors import ConfigError

_LATE = 10**9
"""A step that is later than any warm-up."""


def scheduler_over(trainer: L.Trainer, make: Callable[..., Any], optimizer: Optimizer) -> Any:
    """Make the scheduler of a run.

    Args:
        trainer: says how many optimizer steps there will be, where that is known.
        make: ``(optimizer=…, num_training_steps=…)`` -> scheduler. The number is None where nobody knows it, which is
            enough for a constant rate.
        optimizer: its rates are scheduled.

    Raises:
        ConfigError: if the scheduler needs the number, and nobody knows it.
    """
    steps = _number_of_steps(trainer)
    if steps is not None:
        return make(optimizer=optimizer, num_training_steps=steps)
    try:
        scheduler = make(optimizer=optimizer, num_training_steps=None)
        for rate in getattr(scheduler, "lr_lambdas", ()):  # after a warm-up, too
            rate(_LATE)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"trainer.max_steps: {trainer.max_steps}; the scheduler needs to know how many optimizer steps there will "
            "be, and neither the length of an epoch (of a stream, say) nor trainer.max_epochs tells; give "
            "trainer.max_steps, or choose scheduler=constant"
        ) from error
    return scheduler


def _number_of_steps(trainer: L.Trainer) -> int | None:
    """Optimizer steps of the whole run; None where that is not known before it ends."""
    changes = any(isinstance(callback, GradientAccumulationScheduler) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    if changes and trainer.max_steps < 0:  # Lightning would count the first epoch's accumulation for all
        return None
    steps = trainer.estimated_stepping_batches
    return int(steps) if 0 <= steps < math.inf else None
