"""The sentence of a run that failed: said once, by one of its processes, and kept in its folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.multiprocessing.spawn import ProcessRaisedException

from dopd_lightning.distributed.processes import number_of_processes, process_number
from dopd_lightning.errors import ConfigError, DataError, EngineError, WriteError
from dopd_lightning.training.non_finite import NonFiniteLossError

ERROR = "error.txt"
"""Name of a file in the run's folder; a later attempt removes it."""
SWEEP = "DOPD_SWEEP"
"""Environment variable: a sweep's name for itself, which the processes that Lightning starts for it inherit."""
_PATIENCE = 20.0
"""Seconds that processes of a job may fail one after the other, to count as having failed together."""

# What the user can mend; a traceback would bury it.
_SAID_IN_A_SENTENCE = (
    ConfigError,
    DataError,
    EngineError,
    NonFiniteLossError,
    WriteError,
    MisconfigurationException,
)
_began = time.time()


def sentence_of(error: BaseException) -> str | None:
    """Return what to tell the user instead of a traceback; None for an error that no user can mend."""
    if isinstance(error, _SAID_IN_A_SENTENCE):
        return " ".join(str(error).split())
    if isinstance(error, ProcessRaisedException):  # of strategy=ddp_spawn: a process's traceback as text
        for kind in _SAID_IN_A_SENTENCE:
            _, found, sentence = str(error).rpartition(f"\n{kind.__module__}.{kind.__qualname__}: ")
            if found:
                return sentence.strip()
    return None


def several_processes() -> bool:
    """Tell whether this process is one of several of a run, whoever started them."""
    # Lightning takes its variable back when a Trainer fails, and leaves the processes connected.
    return number_of_processes() > 1 or any(
        int(os.environ.get(name) or 1) > 1 for name in ("WORLD_SIZE", "SLURM_NTASKS")
    )


def is_first_process() -> bool:
    """Tell whether this is the process that speaks for all, whether or not they are connected."""
    return _rank() == 0


def is_first_to_fail(folder: Path, text: str) -> bool:
    """Keep ``text`` in the run's folder, unless another process of the run has failed before.

    The others fail because that one is gone, and in many lines, which would bury what it said.
    """
    path = folder / ERROR
    if SWEEP in os.environ and any(folder.glob(f"{_mark(0).rpartition('_')[0]}_*")):
        return False
    try:
        if path.exists() and path.stat().st_mtime < _began:
            path.unlink()  # of an earlier attempt
        with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text + "\n")
    except FileExistsError:
        return False
    except OSError:
        pass
    return True


def all_have_failed(folder: Path) -> bool:
    """Tell whether all processes of a sweep's job have failed, so that they can go on with the next one together.

    Each leaves a mark in the job's folder and waits for those of the others. Where Lightning starts processes, it does
    so for the first job that gets that far, and they run the whole sweep from its beginning: they find the marks that
    the first process has left. One that failed alone waits in vain, as the others do for it in training.
    """
    if SWEEP not in os.environ:
        return not several_processes()
    numbers = range(max(number_of_processes(), int(os.environ.get("WORLD_SIZE") or 1)))
    try:
        (folder / _mark(_rank())).touch()
    except OSError:
        return not several_processes()
    limit = time.monotonic() + _PATIENCE
    while not all((folder / _mark(number)).exists() for number in numbers):
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True


def _rank() -> int:
    return process_number() if number_of_processes() > 1 else int(os.environ.get("LOCAL_RANK") or 0)


def _mark(rank: int) -> str:
    return f".failed_{os.environ[SWEEP]}_{rank}"
