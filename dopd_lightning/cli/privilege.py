"""The stage that writes privileged information into a file of prompts; it builds no student or teacher."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from dopd_lightning.cli.instantiate import check_complete, complaints_name, make
from dopd_lightning.cli.own_folder import own_folder
from dopd_lightning.cli.summary import write_config
from dopd_lightning.errors import ConfigError, DataError, EngineError
from dopd_lightning.hints import KINDS, HintPipeline

log = logging.getLogger(__name__)


class _Stopped(BaseException):
    """A signal asked for the end; no error that anything in between should catch."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


class _Rate(ProgressColumn):
    """Rows a second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.2f}/s", style="progress.data.speed")


def privilege(config: DictConfig) -> None:
    """Write a hint for each example of ``data.train``, into the run's folder; go on with what is there.

    Raises:
        ConfigError, DataError: before anything is asked of a model where that is possible.
        EngineError: if the model only fails, for all rows or for many in a row.
        DataError: at the end, if no hint passed the checks.
        SystemExit: if it was stopped by a signal, after saying how to go on.
    """
    check_complete(config, "privilege", "paths")
    pipeline = _pipeline(config)
    if config.data.train is None or config.data.train.get("path", "") is None:
        raise ConfigError("data.train.path: there is none; stage=privilege reads prompts from data.train.path=…")
    check_complete(config, "data.train")
    data = make(config, "data.train")
    with own_folder(config) as folder:
        _write_hints(config, pipeline, data, folder)


def _write_hints(config: DictConfig, pipeline: HintPipeline, data: Any, folder: Path) -> None:
    L.seed_everything(config.seed, workers=True, verbose=False)
    try:
        with _signals_stop(), _progress(config) as progress, complaints_name(config, "privilege.writer"):
            report = pipeline.run([data[index] for index in range(len(data))], folder, progress)
    except _Stopped as stop:
        where = f"paths.output_dir={os.path.relpath(folder)}"
        print(f"\nstopped by {stop.signal.name}; go on with the same command and {where}", flush=True)
        raise SystemExit(128 + stop.signal) from None  # as a shell reports a process that the signal ended
    write_config(config, folder)  # not before: the folder may have been refused
    report.print(folder)
    if report.failed == report.rows:
        raise EngineError(
            f"privilege.writer: all {report.rows} rows failed, as {folder / 'dropped.jsonl'} says; the same command "
            f"with paths.output_dir={os.path.relpath(folder)} tries them again"
        )
    if report.failed:
        where = f"paths.output_dir={os.path.relpath(folder)}"
        log.warning("%d rows failed; the same command with %s tries them again", report.failed, where)
    if not report.kept:
        raise DataError(f"privilege: no row has a hint; {folder / 'dropped.jsonl'} says why of each")


def _pipeline(config: DictConfig) -> HintPipeline:
    """Make the pipeline, with a writer if the kind of hint needs one."""
    partial: Any = make(config, "privilege", _partial_=True, writer=None)
    kind = KINDS.get(config.privilege.kind)
    writer = make(config, "privilege.writer") if kind is not None and kind.written else None
    with complaints_name(config, "privilege"):
        pipeline: HintPipeline = partial(writer=writer)
    return pipeline


def _progress(config: DictConfig) -> Progress:
    shown = OmegaConf.select(config, "trainer.enable_progress_bar", default=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    return Progress(*columns, disable=not shown)


@contextmanager
def _signals_stop() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block at once: the journal has all that is done."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
