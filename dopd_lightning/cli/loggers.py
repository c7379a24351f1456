"""Loggers that a run can do without: one that fails warns, and logs no more."""

from __future__ import annotations

from functools import partial
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

from dopd_lightning.training.watcher import warn_of

_WORK = ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize", "after_save_checkpoint", "state", "go_on")


def dispensable(logger: Logger) -> Logger:
    """Switch a logger off where it would end the run, such as on a disk that is full; in place.

    This is work of one process, and no collective: loggers write in the first process alone.
    """
    if isinstance(logger, WandbLogger):
        logger._wandb_init.pop("anonymous", None)  # Lightning always passes it on, and W&B warns that it means nothing
    for method in filter(partial(hasattr, logger), _WORK):
        setattr(logger, method, partial(_call, logger, method))  # a partial, since processes may get a copy
    return logger


def _call(logger: Logger, method: str, *args: Any, **options: Any) -> Any:
    if getattr(logger, "_is_off", False):
        return None
    try:
        return getattr(type(logger), method)(logger, *args, **options)
    except Exception as error:
        logger._is_off = True  # type: ignore[attr-defined]
        warn_of(f"the logger {type(logger).__name__}", error)
        return None
