"""Lightning's Trainer, and which of its flags it would refuse late, in other words, or not at all."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.strategies import ModelParallelStrategy
from omegaconf import DictConfig

from dopd_lightning.cli.instantiate import make
from dopd_lightning.data import DOPDDataModule
from dopd_lightning.distributed.sharding import FullyShardedStrategy
from dopd_lightning.errors import ConfigError, check_range

_AT_LEAST = {
    "check_val_every_n_epoch": 1,
    "accumulate_grad_batches": 1,
    "num_nodes": 1,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
    "num_sanity_val_steps": -1,
    "reload_dataloaders_every_n_epochs": 0,
    "fast_dev_run": 0,
}
_AMOUNTS = (*(f"limit_{name}_batches" for name in ("train", "val", "test", "predict")), "overfit_batches")
"""Numbers of batches, or shares of all."""


def make_trainer(config: DictConfig, **arguments: Any) -> L.Trainer:
    """The Trainer; Lightning's own complaints about its flags come with the key ``trainer``.

    Raises:
        ConfigError: naming the flag.
    """
    _check_numbers(config.trainer)
    _check_strategy(config)
    with warnings.catch_warnings():
        # Lightning would warn and go on in bfloat16, and the saved configuration would not be of this run.
        warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU")
        try:
            trainer: L.Trainer = make(config, "trainer", **arguments)
        except ConfigError as error:
            raise _with_flag(str(error), config.trainer) from error
    if not isinstance(trainer, L.Trainer):
        raise ConfigError(f"trainer: {config.trainer['_target_']} makes a {type(trainer).__name__}, not a Trainer")
    if isinstance(trainer.strategy, ModelParallelStrategy) and not isinstance(trainer.strategy, FullyShardedStrategy):
        raise ConfigError(
            f"trainer.strategy: {type(trainer.strategy).__name__} would train a different student on each process; use "
            "the config group, strategy=fsdp"
        )
    precision = config.trainer.get("precision")
    if str(precision) in ("16", "16-mixed") and trainer.precision != "16-mixed":
        raise ConfigError(
            f"trainer.precision: {precision!r} needs a GPU; choose precision=bf16-mixed or precision=32-true"
        )
    return trainer


def check_fit(config: DictConfig, trainer: L.Trainer, data: DOPDDataModule) -> None:
    """Refuse flags of which Lightning would complain only after the models have loaded and been evaluated.

    Raises:
        ConfigError: naming the flag.
    """
    if not trainer.loggers and any(isinstance(callback, LearningRateMonitor) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        raise ConfigError("callbacks.lr_monitor: there is no logger to log to; choose one, such as logger=csv")
    if trainer.max_epochs == -1 and trainer.max_steps == -1:
        raise ConfigError("trainer.max_steps: -1, with max_epochs=-1, never ends; give one of them")
    interval = None if data.sets["val"] is None else config.trainer.get("val_check_interval")
    batches = _batches("train", trainer, data)
    if isinstance(interval, int) and interval > batches and trainer.check_val_every_n_epoch is not None:
        raise ConfigError(
            f"trainer.val_check_interval: {interval} is above the {batches} batches of an epoch; lower it, or count "
            "across epochs with trainer.check_val_every_n_epoch=null"
        )


def answered_sets(config: DictConfig) -> list[str]:
    """The sets whose examples the stage has a policy answer."""
    evaluates = any(config.evaluate[name] for name in ("teacher", "student_before", "student_after"))
    sets: dict[str, list[str]] = {
        "fit": ["val", "test"] if evaluates else ["val"],
        "validate": ["val"],
        "test": ["test"],
        "predict": ["predict"],
        "export": [],
    }
    return sets[config.stage]


def check_amounts(config: DictConfig, trainer: L.Trainer, data: DOPDDataModule) -> None:
    """Refuse a limit that leaves nothing of a set that the stage is about.

    Raises:
        ConfigError: naming the flag, its value and how many batches there are.
    """
    for name in [*(["train"] if config.stage == "fit" else []), *answered_sets(config)]:
        if data.sets[name] is None:
            continue
        flag = f"limit_{name}_batches"
        limit = getattr(trainer, flag)
        overfit: float = trainer.overfit_batches  # type: ignore[attr-defined]
        if overfit and name in ("train", "val"):
            flag, limit = "overfit_batches", overfit
        if config.stage == "fit" and name == "val" and limit == 0:  # Lightning's way to go without
            continue
        batches = _batches(name, trainer, data)
        if (int(batches * limit) if isinstance(limit, float) else limit) == 0:
            raise ConfigError(
                f"trainer.{flag}: {limit!r} leaves none of the {batches} batches of data.{name}; give at least 1, a "
                "larger share, or null for all"
            )


def _batches(name: str, trainer: L.Trainer, data: DOPDDataModule) -> int:
    """Number of batches that each process reads in an epoch."""
    examples = len(data.sets[name]) / trainer.world_size
    return int(examples // data.batch_size) if name == "train" else math.ceil(examples / data.eval_batch_size)


def _check_numbers(flags: DictConfig) -> None:
    """Hold numbers to their ranges; what is no number is left to the signature."""
    numbers = {
        str(name): value for name, value in flags.items() if isinstance(value, int | float) and type(value) is not bool
    }
    for name in ("max_steps", "max_epochs"):
        if name in numbers and numbers[name] < 1 and numbers[name] != -1:
            raise ConfigError(f"trainer.{name}: {numbers[name]!r} must be at least 1, or -1 for no limit")
    for name, least in _AT_LEAST.items():
        if name in numbers:
            check_range(f"trainer.{name}", numbers[name], at_least=least)
    for name in _AMOUNTS:
        if name in numbers:
            check_range(f"trainer.{name}", numbers[name], at_least=0, **_up_to_all(numbers[name]))
    if "val_check_interval" in numbers:
        interval = numbers["val_check_interval"]
        check_range("trainer.val_check_interval", interval, above=0, **_up_to_all(interval))


def _up_to_all(amount: float) -> dict[str, float]:
    """The bound of a share, which is a ``float``; a number of batches has none."""
    return {"at_most": 1.0} if isinstance(amount, float) else {}


def _with_flag(text: str, flags: DictConfig) -> ConfigError:
    """Lightning's complaint, with the flag in front that it names, and its value."""
    names = map(str, flags) if text.startswith("trainer: ") else ()
    named = [name for name in names if re.search(rf"\b{name}\b", text)]
    if len(named) == 1:
        text = f"trainer.{named[0]}: {flags[named[0]]!r}: {text.removeprefix('trainer: ')}"
    return ConfigError(text)


def _check_strategy(config: DictConfig) -> None:
    strategy, precision = config.trainer.get("strategy", "auto"), str(config.trainer.get("precision"))
    if isinstance(strategy, str) and strategy.startswith(("fsdp", "deepspeed")):
        raise ConfigError(
            f"trainer.strategy: {strategy!r} is not supported: heads are read, and generation runs, as FSDP2 shards; "
            "use the config group, strategy=fsdp"
        )
    if isinstance(strategy, DictConfig) and precision.startswith("16"):
        raise ConfigError(
            f"trainer.precision: {precision!r} scales losses, which FSDP2's sharded gradients do not go with; use "
            "precision=bf16-mixed, or strategy=ddp"
        )
