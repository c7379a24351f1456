"""The sentence of a run that failed: said once, by one of its processes, and kept in its folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.multiprocessing.spawn import ProcessRaisedException

from dopd_lightning.errors import ConfigError, DataError, EngineError, WriteError
from dopd_lightning.non_finite import NonFiniteLossError
from dopd_lightning.processes import number_of_processes

ERROR = "error.txt"
"""In the run's folder, as long as no later attempt has begun there."""

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


def is_first_to_fail(folder: Path, text: str) -> bool:
    """Keep ``text`` in the run's folder, unless another process of the run has failed before.

    The others fail because that one is gone, and in many lines, which would bury what it said.
    """
    path = folder / ERROR
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
