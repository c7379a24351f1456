"""Checkpoint files: written whole or not at all, read with a clear word on what is wrong with them."""

from __future__ import annotations

import errno
import os
import stat
from copy import deepcopy
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.data import _set_sampler_epoch
from torch import Tensor

from dopd_lightning.errors import ConfigError
from dopd_lightning.io.files import written_whole


class WholeCheckpointIO(TorchCheckpointIO):
    """A plugin for the Trainer: a file appears under its name only when all of it is on the disk.

    It is written beside its place and then moved there, which a file system does at once. A process killed at any
    moment leaves the file that was there before, or the new one. (Places that are no local path are left to Lightning.)
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``.

        Raises:
            WriteError: if the disk is full, the folder cannot be written to, and the like. What was at ``path`` before
                still is.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        advice = "earlier ones are as they were. Make room, or choose another folder, and go on with ckpt_path=auto"
        with written_whole(path, "the checkpoint", advice) as part, part.open("wb") as file:
            torch.save(checkpoint, file)


def read_checkpoint(path: str | os.PathLike[str], *, to_train: bool = False) -> dict[str, Any]:
    """A checkpoint, with its tensors left in the file until they are used.

    Args:
        path: of the file.
        to_train: whether it has to hold what training goes on with, besides weights.

    Raises:
        ConfigError: if there is none at ``path``, the file is not a whole one or a byte of it has changed, a part is
            missing, or a number is not finite.
    """
    text = os.fspath(path)
    try:
        if not stat.S_ISREG(os.stat(text).st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        with ZipFile(text) as archive:
            damaged = archive.testzip()
        checkpoint: dict[str, Any] = torch.load(text, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        raise ConfigError(f"ckpt_path: {text!r}: {error.strerror}; give the path of a .ckpt file") from error
    except (RuntimeError, UnpicklingError, EOFError, BadZipFile, ValueError, KeyError) as error:
        raise ConfigError(
            f"ckpt_path: {text!r} is not a checkpoint of a run, or not all of one ({Path(text).stat().st_size} bytes); "
            "give the path of a .ckpt file"
        ) from error
    if damaged is not None:
        raise ConfigError(f"ckpt_path: {text!r} is damaged: {damaged} in it is not what was saved; give another")
    wrong = _wrong_part(checkpoint, to_train)
    if wrong is not None:
        raise ConfigError(
            f"ckpt_path: {text!r} is not a checkpoint of a run: its {wrong!r} is missing, or is not what a run saves "
            "there; give another"
        )
    for name in ("state_dict", "optimizer_states") if to_train else ("state_dict",):
        where = _not_finite(name, checkpoint[name])
        if where is not None:
            raise ConfigError(f"ckpt_path: {text!r} has numbers that are not finite, in {where}; give an earlier one")
    return checkpoint


_KINDS: dict[str, type] = {"state_dict": dict, "pytorch-lightning_version": str}
_KINDS_TO_TRAIN: dict[str, type] = {"global_step": int, "loops": dict, "optimizer_states": list, "lr_schedulers": list}


def _wrong_part(checkpoint: Any, to_train: bool) -> str | None:
    """The part for which Lightning would end in a traceback, or begin anew without a word."""
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
    """Check that Lightning's counters are all there."""
    if not isinstance(loops.get("fit_loop"), dict):
        return False
    try:
        mend_progress({"loops": deepcopy(loops), "global_step": step})
    except (KeyError, TypeError, AttributeError):
        return False
    return True


def _not_finite(name: str, node: Any) -> str | None:
    """The name of a tensor in nested dicts and lists that holds NaN or infinity."""
    if isinstance(node, Tensor):
        return None if bool(node.isfinite().all()) else name
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    return next(filter(None, (_not_finite(f"{name}.{key}", part) for key, part in parts)), None)


def mend_progress(checkpoint: dict[str, Any]) -> None:
    """Set Lightning's counters of epochs and batches, in place, so that it goes on from them as if never stopped.

    Lightning (2.6) does so itself from a checkpoint within an epoch. At an epoch's end, with a loader that keeps its
    place, it reads that epoch again, or counts it twice, depending on the hook that saved and on which of ``max_steps``
    and ``max_epochs`` is given. And an epoch in which ``max_steps`` ended the run counts as read.
    """
    loop = checkpoint.get("loops", {}).get("fit_loop", {})
    if not loop.get("state_dict", {}).get("combined_loader"):
        return
    begun, batches = loop["epoch_progress"]["current"]["ready"], loop["epoch_loop.batch_progress"]
    if not batches["is_last_batch"]:
        for span in ("current", "total"):
            loop["epoch_progress"][span] |= {
                "ready": begun,
                "started": begun,
                "processed": begun - 1,
                "completed": begun - 1,
            }
        return
    # As they are before an epoch begins.
    for span in ("current", "total"):
        loop["epoch_progress"][span] = dict.fromkeys(loop["epoch_progress"][span], begun)
        loop["epoch_loop.val_loop.batch_progress"][span] = dict.fromkeys(batches[span], 0)
    batches["current"] = dict.fromkeys(batches["current"], 0)
    batches["total"] = dict.fromkeys(batches["total"], batches["total"]["ready"])
    batches["is_last_batch"] = False
    loop["epoch_loop.state_dict"]["_batches_that_stepped"] = checkpoint["global_step"]


def go_on_in_data(trainer: L.Trainer) -> None:
    """Put the training data where the checkpoint left them, at the start of training.

    Lightning (2.6) does so when it asks for the dataloader, but only if it knows the checkpoint's progress by then. For
    a scheduler that depends on the number of steps it asks before that, and would read the epoch from its beginning.
    And it tells the sampler the epoch only after workers have begun to read.
    """
    loop = trainer.fit_loop
    if not loop.is_resuming or loop._combined_loader is None or loop._data_fetcher is None:
        return
    if loop.restarting:
        if not loop._combined_loader_states_to_load:
            return  # they are there already
        loop._load_combined_loader_states()
    else:
        for loader in loop._combined_loader.flattened:
            _set_sampler_epoch(loader, loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
    iter(loop._data_fetcher)  # the one that it has is at the beginning
