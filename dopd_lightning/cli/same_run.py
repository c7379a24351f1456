"""Comparison of a checkpoint's run with the configured one: which keys make a run the same."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any

import lightning as L
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dopd_lightning.cli.resolvers import asset
from dopd_lightning.compare.differences import OF_NO_CONSEQUENCE
from dopd_lightning.data import DOPDDataModule
from dopd_lightning.errors import ConfigError
from dopd_lightning.moved import TARGETS

# Keys that a resumed run may change: duration, place, number of processes, callbacks. A method names parts that are
# compared themselves.
_FREE = (*OF_NO_CONSEQUENCE, "method", "callbacks", "trainer")
_FREE_WITHIN = {
    "data": ("val", "test", "predict", "batch_size", "eval_batch_size", "num_workers"),
    "privileged": ("evaluation",),
    "engine": ("url", "weights", "model", "timeout", "gpu_memory_utilization"),
}
_OF_THE_TRAINER = ("gradient_clip_val", "gradient_clip_algorithm")
_TARGET = "_target_"
_OWN = "${paths.output_dir}"
_MARKS = {"\0runs": "${paths.runs}", "\0own": _OWN}  # no path has this character


class KeepConfig(L.Callback):
    """Callback that puts the configuration into every checkpoint."""

    def __init__(self, config: DictConfig) -> None:
        self.config = kept(config)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["prompts_a_step"] = _prompts_a_step(trainer, trainer.datamodule)  # type: ignore[attr-defined]


def kept(config: DictConfig) -> dict[str, Any]:
    """Return the resolved configuration, with places by name, since they may move.

    The names are ``${asset:…}``, ``${paths.runs}`` and ``${paths.output_dir}``. Values that cannot be resolved are left
    out.
    """
    config = deepcopy(config)
    for mark, name in _MARKS.items():
        OmegaConf.update(config, name.strip("${}"), mark, force_add=True)
    plain: dict[str, Any] = _plain(config)
    return plain


def _plain(node: Any) -> Any:
    if isinstance(node, DictConfig):
        found = {}
        for key in node:
            with suppress(OmegaConfBaseException):
                found[str(key)] = _plain(node[key])
        return found
    if isinstance(node, ListConfig):
        return [_plain(each) for each in node]
    return node if node is None or isinstance(node, bool | int | float) else _by_name(str(node))


def _by_name(text: str) -> str:
    assets = asset("") + os.sep
    if text.startswith(assets):
        return f"${{asset:{text.removeprefix(assets)}}}"
    for mark, name in _MARKS.items():
        text = text.replace(mark, name)
    return text


def check_same_run(checkpoint: dict[str, Any], config: DictConfig, trainer: L.Trainer, data: DOPDDataModule) -> None:
    """Refuse to resume a run with settings that change what is learned.

    Raises:
        ConfigError: naming the first key that differs, and both values.
    """
    difference = first_difference(checkpoint, config)
    if difference is not None:
        key, before, now = difference
        raise ConfigError(
            f"{key}: {now!r}, but the checkpoint's run had {before!r}; go on with what it had, or begin a new run from "
            "its student: stage=export, then student.name=<run>/student"
        )
    before, now = checkpoint.get("prompts_a_step"), _prompts_a_step(trainer, data)
    if before is not None and before != now:
        raise ConfigError(
            f"data.batch_size: {data.batch_size} on {trainer.world_size} process(es), with "
            f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}, makes {now} prompts a step, but the "
            f"checkpoint's run had {before}; choose a batch_size that makes as many"
        )


def first_difference(checkpoint: dict[str, Any], config: DictConfig) -> tuple[str, Any, Any] | None:
    """Return the first differing key that changes what is learned, with its values then and now; None if none does."""
    saved = checkpoint.get("config")
    if saved is None:  # saved by a user's own Trainer
        return None
    return next(_differences("", _decisive(kept(OmegaConf.create(saved))), _decisive(kept(config))), None)


def _decisive(config: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in config.items() if name not in _FREE}
    for name, free in _FREE_WITHIN.items():
        if isinstance(found.get(name), Mapping):
            found[name] = {key: value for key, value in found[name].items() if key not in free}
    trainer = config.get("trainer") or {}
    return found | {"trainer": {key: trainer.get(key) for key in _OF_THE_TRAINER}}


def _differences(key: str, then: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    if not (isinstance(then, Mapping) and isinstance(now, Mapping)):
        if key.rpartition(".")[2] == _TARGET and _object(then) is _object(now):
            return
        in_own_folder = any(isinstance(value, str) and value.startswith(_OWN) for value in (then, now))
        if then != now and not in_own_folder:
            yield key, then, now
        return
    names = {**now, **then}.keys() - {"_partial_"}  # it says when an object is made, not which
    for name in sorted(names, key=lambda name: (name != _TARGET, name)):  # other objects have other parameters
        before = then[name] if name in then else _by_default(now, name, at_the_top=not key)
        yield from _differences(f"{key}.{name}" if key else name, before, now.get(name))


def _object(target: Any) -> Any:
    """Return the class or function of a ``_target_``, which may be an earlier name."""
    try:
        return get_object(TARGETS.get(str(target), str(target)))
    except (ImportError, ValueError):
        return target


def _by_default(node: Mapping[str, Any], name: str, *, at_the_top: bool) -> Any:
    """Return the value of a key that a checkpoint lacks: this version's default, as far as it is known."""
    if at_the_top:
        return node[name]
    if name == _TARGET or _TARGET not in node:  # no object, or a key among values, such as a chat template's
        return None
    try:
        default = inspect.signature(get_object(str(node[_TARGET]))).parameters[name].default
    except (ImportError, KeyError, TypeError, ValueError):
        return node[name]
    if default is inspect.Parameter.empty:
        return node[name]
    return list(default) if isinstance(default, tuple) else default


def _prompts_a_step(trainer: L.Trainer, data: DOPDDataModule) -> int:
    return data.batch_size * trainer.world_size * trainer.accumulate_grad_batches
