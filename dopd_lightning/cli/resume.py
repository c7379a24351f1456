"""Find the checkpoint to resume from, and check that it belongs to the run."""

from __future__ import annotations

import inspect
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
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
from dopd_lightning.training.checkpoints import read_checkpoint
from dopd_lightning.training.module import DOPDModule

log = logging.getLogger(__name__)

Found = tuple[Path, dict[str, Any]]
"""A checkpoint, and where it was."""

# In these a run may go on otherwise than it began: how long, where, on how many processes, watched by whom. A method is
# a name for parts that are compared themselves.
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
_BEGAN = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\w*")
"""The moment in the name of a folder that a run has by default."""


class KeepConfig(L.Callback):
    """Puts the configuration into every checkpoint."""

    def __init__(self, config: DictConfig) -> None:
        self.config = kept(config)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["prompts_a_step"] = _prompts_a_step(trainer, trainer.datamodule)  # type: ignore[attr-defined]


def kept(config: DictConfig) -> dict[str, Any]:
    """The configuration with the values that the run sees, but places by name: they are elsewhere on another day.

    The names are ``${asset:…}``, ``${paths.runs}`` and ``${paths.output_dir}``. A value that refers to what is not
    there is left out.
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


def checkpoints_of(config: DictConfig) -> Iterator[Found]:
    """The checkpoint at ``ckpt_path``; with ``auto``, the whole ones of this run, the newest first.

    A run has the folder of its checkpoints, and the folders that have the same path but for the moment in it: attempts
    at the same command, and with a sweep at the same job of it.

    Raises:
        ConfigError: if that at ``ckpt_path`` is not whole; after the last of ``auto``, in a stage that has to have one.
    """
    to_train = config.stage == "fit"
    if config.ckpt_path != "auto":
        if config.ckpt_path is not None:
            yield Path(str(config.ckpt_path)), read_checkpoint(str(config.ckpt_path), to_train=to_train)
        return
    where, folders = _attempts(_folder_of_checkpoints(config))
    files = [path for folder in folders for path in folder.glob("*.ckpt") if not path.is_symlink()]
    others = 0
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            checkpoint = read_checkpoint(path, to_train=to_train)
        except ConfigError as error:
            log.warning("%s; looking for an earlier one", error)
            continue
        if _difference(checkpoint, config) is None:
            yield path, checkpoint
        else:
            others += 1
    found = f", but {others} of runs with other settings" if others else ""
    text = f"ckpt_path: auto finds no checkpoint of this run in {where}{found}"
    if not to_train:
        raise ConfigError(f"{text}; give ckpt_path=<file>.ckpt")
    log.info("%s; starting from the beginning", text)


def load_first(module: DOPDModule, candidates: Iterator[Found], config: DictConfig) -> Found | None:
    """Have ``module`` go on from the first that is of its models.

    Raises:
        ConfigError: if that at ``ckpt_path`` is of others.
    """
    for path, checkpoint in candidates:
        try:
            module.on_load_checkpoint(checkpoint)
        except ConfigError as error:
            if config.ckpt_path != "auto":
                raise
            log.warning("%s: %s; looking for an earlier one", path, error)
            continue
        if config.ckpt_path == "auto":
            log.info("ckpt_path: going on from %s (%d steps)", path, checkpoint["global_step"])
        return path, checkpoint
    return None


def _folder_of_checkpoints(config: DictConfig) -> Path:
    node = OmegaConf.select(config, "callbacks.checkpoint") or {}
    return Path(node.get("folder") or node.get("dirpath") or Path(config.paths.output_dir) / "checkpoints")


def _attempts(own: Path) -> tuple[Path, list[Path]]:
    """The folders with the same path but for the moment that a run began, as a pattern and those that are there."""
    dated = [number for number, part in enumerate(own.parts) if _BEGAN.search(part)]
    if not dated:
        return own, [own]
    above, part, below = own.parts[: dated[-1]], own.parts[dated[-1]], own.parts[dated[-1] + 1 :]
    before, after = _BEGAN.split(part, maxsplit=1)
    same = re.compile(re.escape(before) + _BEGAN.pattern + re.escape(after))
    found = [folder.joinpath(*below) for folder in Path(*above).glob("*") if same.fullmatch(folder.name)]
    return Path(*above, f"{before}*{after}", *below), found


def check_same_run(checkpoint: dict[str, Any], config: DictConfig, trainer: L.Trainer, data: DOPDDataModule) -> None:
    """Refuse to go on with a run in another way than it began.

    Raises:
        ConfigError: naming the first key that differs, and both values.
    """
    difference = _difference(checkpoint, config)
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


def _difference(checkpoint: dict[str, Any], config: DictConfig) -> tuple[str, Any, Any] | None:
    """The first key whose value decides what is learned and differs, with the value then and now."""
    saved = checkpoint.get("config")
    if saved is None:  # saved by somebody's own Trainer
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
    names = {**now, **then}.keys() - {"_partial_"}  # which says when an object is made, and not of what
    for name in sorted(names, key=lambda name: (name != _TARGET, name)):  # other objects have other parameters
        before = then[name] if name in then else _by_default(now, name, at_the_top=not key)
        yield from _differences(f"{key}.{name}" if key else name, before, now.get(name))


def _object(target: Any) -> Any:
    """The class or function that a ``_target_`` names, under whatever name."""
    try:
        return get_object(TARGETS.get(str(target), str(target)))
    except (ImportError, ValueError):
        return target


def _by_default(node: Mapping[str, Any], name: str, *, at_the_top: bool) -> Any:
    """The value of a key that a checkpoint lacks: this version's default, as far as it can be known."""
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
