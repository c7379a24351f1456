"""A function run by several real processes at once, joined over gloo as Lightning joins them."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.forks import context

LIMIT = 180
"""Seconds after which processes that are still at work count as hanging."""


class Crash(Exception):
    """A process was ended by a memory error."""


def together(processes: int, work: Callable[..., Any], *args: Any) -> list[Any]:
    """Return the results of ``work(*args)`` in several processes, by rank.

    What crashed is tried once more: a thread of torch 2.13 (``pt_gloo_runloop``) was seen to do so once, on a machine
    that had other work, and a crash says nothing of what is tested. One that comes again is an error.
    """
    try:
        return _together(processes, work, *args)
    except Crash:
        return _together(processes, work, *args)


def _together(processes: int, work: Callable[..., Any], *args: Any) -> list[Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        members = [
            context.Process(target=_member, args=(rank, processes, port, folder, work, args))
            for rank in range(processes)
        ]
        for member in members:
            member.start()
        for member in members:
            member.join(LIMIT)
        hanging = [rank for rank, member in enumerate(members) if member.is_alive()]
        for member in members:
            member.kill()
            member.join()  # what it holds, such as the lock of a run's folder, is free before it is started once more
        crashed = [rank for rank, member in enumerate(members) if member.exitcode == -signal.SIGSEGV]
        if crashed:
            raise Crash(f"processes {crashed}")
        errors = [path.read_text() for path in sorted(Path(folder).glob("*.error"))]
        assert not errors, "\n".join(errors)
        assert not hanging, f"processes {hanging} hang"
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(processes)]


def _member(rank: int, processes: int, port: int, folder: str, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if processes > 1:
        place = {"LOCAL_RANK": rank, "NODE_RANK": 0, "TEST_RANK": rank, "TEST_PROCESSES": processes}
        os.environ.update({name: str(value) for name, value in place.items()})
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        torch.save(work(*args), Path(folder) / f"{rank}.pt")
    except BaseException:
        (Path(folder) / f"{rank}.error").write_text(f"process {rank}:\n{traceback.format_exc()}")
        raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
