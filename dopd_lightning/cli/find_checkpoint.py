"""Search for the checkpoint to resume from."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dopd_lightning.cli.same_run import first_difference
from dopd_lightning.errors import ConfigError
from dopd_lightning.training.checkpoint_file import read_checkpoint
from dopd_lightning.training.module import DOPDModule

log = logging.getLogger(__name__)

Found = tuple[Path, dict[str, Any]]
"""A checkpoint's path and content."""

_BEGAN = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\w*")
"""The moment in the name of a folder that a run has by default."""


def checkpoints_of(config: DictConfig) -> Iterator[Found]:
    """Yield the checkpoint at ``ckpt_path``; with ``auto``, the complete ones of this run, the newest first.

    A run's checkpoints are in its own folder, and in folders whose path differs only in its date: earlier attempts at
    the same command or, in a sweep, the same job.

    Raises:
        ConfigError: if the file at ``ckpt_path`` is incomplete; if ``auto`` finds none in a stage that needs one.
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
        if first_difference(checkpoint, config) is None:
            yield path, checkpoint
        else:
            others += 1
    found = f", but {others} of runs with other settings" if others else ""
    text = f"ckpt_path: auto finds no checkpoint of this run in {where}{found}"
    if not to_train:
        raise ConfigError(f"{text}; give ckpt_path=<file>.ckpt")
    log.info("%s; starting from the beginning", text)


def load_first(module: DOPDModule, candidates: Iterator[Found], config: DictConfig) -> Found | None:
    """Load the first checkpoint of the module's models into ``module``.

    Raises:
        ConfigError: if the file at ``ckpt_path`` is of other models.
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
    """Return the folders whose paths differ only in the date: their pattern, and those that exist."""
    dated = [number for number, part in enumerate(own.parts) if _BEGAN.search(part)]
    if not dated:
        return own, [own]
    above, part, below = own.parts[: dated[-1]], own.parts[dated[-1]], own.parts[dated[-1] + 1 :]
    before, after = _BEGAN.split(part, maxsplit=1)
    same = re.compile(re.escape(before) + _BEGAN.pattern + re.escape(after))
    found = [folder.joinpath(*below) for folder in Path(*above).glob("*") if same.fullmatch(folder.name)]
    return Path(*above, f"{before}*{after}", *below), found
