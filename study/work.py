"""Run jobs, each as its command would, in processes that stay, so that imports are made once."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from study.plan import DONE, Job

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",  # two runs on two threads each are slower than one after the other
    # glibc returns each tensor's memory, and the kernel clears it again: 40 % of the time of such small models.
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
    "MALLOC_TOP_PAD_": str(2**28),
}


def run_all(jobs: Sequence[Job], processes: int, log: Path) -> Iterator[tuple[Job, str | None]]:
    """Run jobs, at most ``processes`` at a time, each on one core.

    Args:
        jobs: those to run, the first ones first.
        processes: how many run at a time.
        log: folder for the output of the processes.

    Yields:
        Each job as it ends, and None or what went wrong.
    """
    if not jobs:
        return
    log.mkdir(parents=True, exist_ok=True)
    os.environ.update(_ENVIRONMENT)
    pool = ProcessPoolExecutor(
        min(processes, len(jobs)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_print_to,
        initargs=(log,),
    )
    waiting: dict[Future[str | None], Job] = {pool.submit(_run, job): job for job in jobs}
    try:
        while waiting:
            ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                job = waiting.pop(future)
                error = future.exception()
                yield job, future.result() if error is None else f"{type(error).__name__}: {error}"
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _print_to(log: Path) -> None:
    file = os.open(log / f"{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)


def _run(job: Job) -> str | None:
    """Run a job with a fresh Hydra; return the error, or None."""
    from hydra.core.global_hydra import GlobalHydra

    from dopd_lightning.cli.main import main

    job.clear()
    GlobalHydra.instance().clear()
    sys.argv = ["dopd-lightning", *job.arguments]
    began = time.monotonic()
    try:
        main()
    except SystemExit as end:
        if end.code:
            return str(end.code)
    (job.folder / DONE).write_text(json.dumps({"seconds": round(time.monotonic() - began, 1)}), encoding="utf-8")
    return None
