"""Checkpoint files: written atomically, and checked when they are read."""

from __future__ import annotations

import errno
import os
import stat
from copy import deepcopy
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from dopd_lightning.errors import ConfigError
from dopd_lightning.io.files import written_whole
from dopd_lightning.training.progress import mend_progress


class WholeCheckpointIO(TorchCheckpointIO):
    """Plugin of the Trainer that writes checkpoints atomically.

    A file is written under another name and then renamed. A process killed at any moment leaves either the earlier file
    or the new one. (Lightning itself writes to URLs.)
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``.

        Raises:
            WriteError: if the file cannot be written, for example because the disk is full. An earlier file at
                ``path`` stays.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        advice = "earlier ones are unchanged. Make room, or choose another folder, and resume with ckpt_path=auto"
        with written_whole(path, "the checkpoint", advice) as part, part.open("wb") as file:
            torch.save(checkpoint, file)


def read_checkpoint(path: str | os.PathLike[str], *, to_train: bool = False) -> dict[str, Any]:
    """Read a checkpoint; its tensors are memory-mapped.

    Args:
        path: path of the file.
        to_train: require the state of training, not only weights.

    Raises:
        ConfigError: if the file does not exist, is incomplete or damaged, lacks an entry, or has numbers that are not
            finite.
    """
    text = os.fspath(path)
    try:
        if not stat.S_ISREG(os.stat(text).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file")
        with ZipFile(text) as archive:
            damaged = archive.testzip()
        checkpoint: dict[str, Any] = torch.load(text, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        raise ConfigError(f"ckpt_path: {text!r}: {error.strerror}; give the path of a .ckpt file") from error
    except (RuntimeError, UnpicklingError, EOFError, BadZipFile, ValueError, KeyError) as error:
        raise ConfigError(
            f"ckpt_path: {text!r} is not a checkpoint of a run, or is incomplete ({Path(text).stat().st_size} bytes); "
            "give the path of a .ckpt file"
        ) from error
    if damaged is not None:
        raise ConfigError(f"ckpt_path: {text!r} is damaged: the checksum of {damaged} is wrong; give another")
    wrong = _wrong_part(checkpoint, to_train)
    if wrong is not None:
        raise ConfigError(
            f"ckpt_path: {text!r} is not a checkpoint of a run: its {wrong!r} is missing or invalid; give another"
        )
    for name in ("state_dict", "optimizer_states") if to_train else ("state_dict",):
        where = _not_finite(name, checkpoint[name])
        if where is not None:
            raise ConfigError(f"ckpt_path: {text!r} has numbers that are not finite, in {where}; give an earlier one")
    return checkpoint


_KINDS: dict[str, type] = {"state_dict": dict, "pytorch-lightning_version": str}
_KINDS_TO_TRAIN: dict[str, type] = {"global_step": int, "loops": dict, "optimizer_states": list, "lr_schedulers": list}


def _wrong_part(checkpoint: Any, to_train: bool) -> str | None:
    """Return the entry for which Lightning would fail or silently start from the beginning; None if all are right."""
    if not isinstance(checkpoint, dict):
        return "state_dict"
    for name, kind in (_KINDS | _KINDS_TO_TRAIN if to_train else _KINDS).items():
        if not isinstance(checkpoint.get(name), kind):
            return name
    if not isinstance(checkpoint.get("config", {}), dict):
        return "config"
    if to_train and not checkpoint["optimizer_states"]:
        return "optimizer_states"
    if to_train and not _is_progress(checkpoint["loops"], checkpoint["global_step"]):
        return "loops"
    return None


def _is_progress(loops: dict[str, Any], step: int) -> bool:
    """Return whether Lightning's progress counters are complete."""
    if not isinstance(loops.get("fit_loop"), dict):
        return False
    try:
        mend_progress({"loops": deepcopy(loops), "global_step": step})
    except (KeyError, TypeError, AttributeError):
        return False
    return True


def _not_finite(name: str, node: Any) -> str | None:
    """Return the name of a tensor in nested dicts and lists that holds NaN or infinity; None if there is none."""
    if isinstance(node, Tensor):
        return None if bool(node.isfinite().all()) else name
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    return next(filter(None, (_not_finite(f"{name}.{key}", part) for key, part in parts)), None)
