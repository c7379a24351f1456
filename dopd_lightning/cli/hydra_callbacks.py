"""Hydra's callbacks: a new folder for each run and sweep, and the failed jobs at the end of a sweep."""

from __future__ import annotations

import os
import socket
import sys
import time
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from dopd_lightning.cli.failure import ERROR, SWEEP, is_first_process, several_processes
from dopd_lightning.cli.top_level_keys import check_name
from dopd_lightning.errors import ConfigError

BEGAN = "DOPD_BEGAN"
"""Environment variable: when the run began. Processes that Lightning starts for it inherit it, and find its folder."""


class NewFolder(Callback):
    """Names a folder by the time, with a number behind it where another run began in the same second.

    That is before Hydra makes the folder. One that the user named is taken as it is.
    """

    def on_run_start(self, config: DictConfig, **options: Any) -> None:
        _make_new(config, "run")

    def on_multirun_start(self, config: DictConfig, **options: Any) -> None:
        if not several_processes():
            os.environ[SWEEP] = f"{socket.gethostname()}_{os.getpid()}_{time.time_ns()}"
        _make_new(config, "sweep")


def _make_new(config: DictConfig, mode: str) -> None:
    node = config.hydra[mode]
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    named_by_time = "${began:}" in str(OmegaConf.to_container(node, resolve=False))
    if isinstance(name := OmegaConf.select(config, "name", throw_on_resolution_failure=False), str):
        try:
            check_name(name)  # other values make no folder, or one below paths.runs
        except ConfigError as error:
            raise SystemExit(f"\nerror: {error}") from None
    if several_processes() or not named_by_time:
        return
    for number in count():
        os.environ[BEGAN] = f"{now}_{number}" if number else now
        OmegaConf.clear_cache(config)
        folder = Path(node.dir)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise SystemExit(
                f"\nerror: paths.runs: {str(folder.parent)!r} cannot be written to: {error.strerror}; choose another "
                "place with paths.runs=…"
            ) from error
        return


class FailedJobs(Callback):
    """Ends a sweep with status 1 and a list of the jobs that failed; those behind them were run all the same."""

    def on_multirun_end(self, config: DictConfig, **options: Any) -> None:
        if not is_first_process():
            return
        sweep = Path(config.hydra.sweep.dir)
        failed = sorted(sweep.rglob(ERROR), key=lambda path: (len(path.parent.name), path.parent.name))
        if not failed:
            return
        overrides = {path.parents[1]: [*OmegaConf.load(path)] for path in sweep.rglob(".hydra/overrides.yaml")}
        common = set.intersection(*map(set, overrides.values())) if len(overrides) > 1 else set()
        lines = []
        for path in failed:
            varied = " ".join(each for each in overrides.get(path.parent, ()) if each not in common)
            lines.append(f"  {path.parent.relative_to(sweep)}  {varied}: {_first_line(path)}")
        sys.stdout.flush()
        raise SystemExit("\n".join([f"\nerror: {len(failed)} of the jobs in {sweep} failed:", *lines]))


def _first_line(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip().partition("\n")[0]
