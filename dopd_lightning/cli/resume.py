"""Which checkpoint a run goes on from, and whether it is one of that run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf

from dopd_lightning.checkpoints import read_checkpoint
from dopd_lightning.errors import ConfigError

log = logging.getLogger(__name__)

# What a run may go on with otherwise than it began: how long, where, on how many processes, watched by whom.
_FREE = ("name", "stage", "ckpt_path", "objective", "evaluate", "paths", "callbacks", "logger", "trainer", "privilege")
_FREE_WITHIN = {
    "data": ("val", "test", "predict", "batch_size", "eval_batch_size", "num_workers"),
    "privileged": ("evaluation",),
}


class KeepConfig(L.Callback):
    """Puts the configuration into every checkpoint."""

    def __init__(self, config: DictConfig) -> None:
        self.config: Any = OmegaConf.to_container(config, resolve=False)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["prompts_a_step"] = _prompts_a_step(self.config, trainer.world_size)


def newest_checkpoint(config: DictConfig) -> Path | None:
    """The newest whole checkpoint of runs with this name and configuration; what ``ckpt_path=auto`` goes on from."""
    runs = Path(config.paths.runs) / config.name
    files = {path for folder in (runs, Path(config.paths.output_dir)) for path in folder.rglob("checkpoints/*.ckpt")}
    files = {path for path in files if not path.is_symlink()}
    others = 0
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            checkpoint = read_checkpoint(path)
        except ConfigError as error:
            log.warning("%s; looking for an earlier one", error)
            continue
        if _difference(checkpoint.get("config"), config) is None:
            log.info("ckpt_path: going on from %s (%d steps)", path, checkpoint["global_step"])
            return path
        others += 1
    found = f", but {others} of runs with other settings" if others else ""
    log.info("ckpt_path: no checkpoint of this run in %s%s; starting from the beginning", runs, found)
    return None


def check_same_run(checkpoint: dict[str, Any], config: DictConfig, processes: int) -> None:
    """Refuse to go on with a run in another way than it began.

    Raises:
        ConfigError: naming the first key that differs, and both values.
    """
    difference = _difference(checkpoint.get("config"), config)
    if difference is not None:
        key, before, now = difference
        raise ConfigError(
            f"{key}: {now!r}, but the checkpoint's run had {before!r}; go on with what it had, or begin a new run from "
            "its student: stage=export, then student.name=<run>/student"
        )
    before, now = checkpoint.get("prompts_a_step"), _prompts_a_step(config, processes)
    if before is not None and before != now:
        raise ConfigError(
            f"data.batch_size: {config.data.batch_size} on {processes} process(es), with "
            f"trainer.accumulate_grad_batches={config.trainer.accumulate_grad_batches}, makes {now} prompts a step, "
            f"but the checkpoint's run had {before}; choose a batch_size that makes as many"
        )


def _difference(saved: Any, config: DictConfig) -> tuple[str, Any, Any] | None:
    """The first key whose value decides what is learned and differs, with the value then and now."""
    if saved is None:  # saved by somebody's own Trainer
        return None
    then, now = dict(_decisive(saved)), dict(_decisive(OmegaConf.to_container(config, resolve=False)))
    for key in [*now, *then]:
        if then.get(key) != now.get(key):
            return key, then.get(key), now.get(key)
    return None


def _decisive(config: Any) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if name in _FREE_WITHIN:
            value = {key: part for key, part in value.items() if key not in _FREE_WITHIN[name]}
        if name not in _FREE:
            yield from _flat(name, value)
    yield "trainer.gradient_clip_val", config["trainer"].get("gradient_clip_val")


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _flat(f"{key}.{name}", part)
    else:
        yield key, value


def _prompts_a_step(config: Any, processes: int) -> int:
    return int(config["data"]["batch_size"]) * processes * int(config["trainer"]["accumulate_grad_batches"])
