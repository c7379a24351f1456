"""The run's own folder: for one run at a time, and without what a killed attempt left half written."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from lightning.fabric.utilities.rank_zero import _get_rank
from omegaconf import DictConfig

from dopd_lightning.cli.failure import ERROR
from dopd_lightning.errors import ConfigError
from dopd_lightning.training.checkpoint_file import read_checkpoint

log = logging.getLogger(__name__)

_LOCK = ".lock"
_LEFT = {
    "fit": ("summary.json", "checkpoints/step=*.ckpt"),
    "predict": ("predictions.jsonl",),
    "export": ("student",),
}
"""Results of each stage that take their time to make again."""
_ORPHANS = 10.0
"""Seconds that the processes of a run whose first process was killed may take to end; they hold its lock, too."""


@contextmanager
def own_folder(config: DictConfig) -> Iterator[Path]:
    """Make ``paths.output_dir`` and keep other runs out of it as long as the block lasts.

    The first process does so for all. The system gives the lock back whenever and however that process ends.

    Raises:
        ConfigError: if nothing can be written there, or another run is at work there.
    """
    folder = Path(config.paths.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"paths.output_dir: {str(folder)!r} cannot be written to: {error.strerror}; choose another place with "
            "paths.runs=… or paths.output_dir=…"
        ) from error
    if not _is_first_process():
        yield folder
        return
    lock = _locked(folder)
    try:
        (folder / ERROR).unlink(missing_ok=True)
        _clear([folder])
        yield folder
    finally:
        if lock is not None:
            lock.release()


def check_nothing_is_lost(folder: Path, stage: str) -> None:
    """Refuse to run a stage in a folder that has the results of another run of it.

    Raises:
        ConfigError: naming what is there.
    """
    found = [path for pattern in _LEFT.get(stage, ()) for path in sorted(folder.glob(pattern)) if _whole(path)]
    if found:
        go_on = ", or go on with that run (ckpt_path=auto, and its configuration)" if stage == "fit" else ""
        raise ConfigError(
            f"paths.output_dir: {str(folder)!r} has {found[0].relative_to(folder)} of another run, which this one "
            f"would overwrite; choose another folder{go_on}"
        )


def clear_killed_attempts(folders: Iterable[Path]) -> None:
    """Remove the files that killed attempts left half written in run folders below ``folders``."""
    if _is_first_process():
        _clear(folders)


def _locked(folder: Path) -> FileLock | None:
    """Hold the folder's lock; nothing on a file system without locks."""
    path = folder / _LOCK
    lock = FileLock(path)
    holder = _holder(path)
    try:
        lock.acquire(timeout=_ORPHANS if _is_gone(holder) else 0)
        path.write_text(f"{_this_process()} since {datetime.now():%Y-%m-%d %H:%M:%S}")
    except Timeout:
        raise ConfigError(
            f"paths.output_dir: another run is at work in {str(folder)!r} ({holder or 'it does not say which'}); wait "
            "until it has ended, or choose another folder"
        ) from None
    except (OSError, NotImplementedError) as error:
        log.warning("paths.output_dir: %s does not support locks (%s): let no other run use it", folder, error)
        return None
    return lock


def _is_first_process() -> bool:
    """Tell before the processes are connected, from what their launcher says now (not at Lightning's import)."""
    return not _get_rank() and int(os.environ.get("NODE_RANK") or 0) == 0


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _is_gone(holder: str) -> bool:
    """Return whether the process that a lock names was on this machine and has ended."""
    words = holder.split()
    if len(words) < 4 or words[3] != socket.gethostname() or not words[1].isdecimal():
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _clear(folders: Iterable[Path]) -> None:
    """Remove half-written files from folders that runs have held, unless a run is at work there."""
    for folder, part in [(run, part) for run in folders for part in run.rglob(".*.part")]:
        above = [each for each in part.parents if each.is_relative_to(folder)]  # a lock further up is no run's
        lock = next((each / _LOCK for each in above if (each / _LOCK).exists()), None)
        if lock is None:
            continue
        with suppress(OSError):  # a Timeout is one
            if _holder(lock).startswith(f"{_this_process()} "):
                part.unlink()
            else:
                with FileLock(lock, timeout=0):
                    part.unlink()


def _whole(path: Path) -> bool:
    if path.suffix != ".ckpt":
        return path.exists()
    try:
        read_checkpoint(path, to_train=True)
    except ConfigError:
        return False
    return True
