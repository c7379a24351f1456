"""Outputs of a run in its folder: configuration, summary, logged metrics."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dopd_lightning.compare.folders import CONFIG

SUMMARY, METRICS = "summary.json", "csv/metrics.csv"
# Ten times as fast, where PyYAML came with it. What a run has written is resolved, and plain YAML.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OF_TRAINING = "fit"
_ITSELF = "compare"

Logged = Mapping[str, Mapping[int, float]]
"""Logged value at each step, by metric."""


@dataclass(frozen=True)
class RunFolder:
    """One folder's run.

    Attributes:
        path: of the folder.
        config: as the run saw it, resolved.
        seed: of everything random in it.
        summary: the numbers of ``summary.json``, nested names joined by dots; None while it has not finished.
        logged: of ``csv/metrics.csv``; empty without.
    """

    path: Path
    config: Mapping[str, Any]
    seed: int
    summary: Mapping[str, float] | None
    logged: Logged

    @property
    def last_step(self) -> int:
        """The last that was logged, -1 without any."""
        return max((max(points) for points in self.logged.values()), default=-1)


class _Unreadable(Exception):
    """A file that does not hold what it should; the message names it."""


def read_runs(folders: Sequence[Path]) -> tuple[list[RunFolder], list[str]]:
    """Read what can be read.

    Returns:
        The training runs, and notes: a sentence for each folder, or file in it, that is missing or broken.
    """
    runs, notes = [], []
    for folder in folders:
        try:
            config = _config(folder)
        except _Unreadable as error:
            notes.append(f"{error}: left out")
            continue
        if config["stage"] != _OF_TRAINING:
            if config["stage"] != _ITSELF:
                notes.append(f"{folder}: trained nothing (stage={config['stage']}): left out")
            continue
        summary: Mapping[str, float] | None = None
        logged: Logged = {}
        try:
            summary = _summary(folder)
        except _Unreadable as error:
            notes.append(str(error))
        try:
            logged = _logged(folder)
        except _Unreadable as error:
            notes.append(str(error))
        runs.append(RunFolder(folder, config, config["seed"], summary, logged))
    return runs, notes


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _Unreadable(f"{path}: is not there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _Unreadable(f"{path}: cannot be read ({error})") from error


def _config(folder: Path) -> Mapping[str, Any]:
    began = (folder / CONFIG).exists()
    path = folder / CONFIG if began else folder / ".hydra" / CONFIG
    try:
        config = yaml.load(_text(path), _LOADER)
    except (yaml.YAMLError, ValueError) as error:
        raise _Unreadable(f"{path}: is no configuration ({' '.join(str(error).split())})") from error
    if not isinstance(config, dict) or type(config.get("seed")) is not int or "stage" not in config:
        raise _Unreadable(f"{path}: is no run's configuration (it has no seed and stage)")
    if not began and config["stage"] != _ITSELF:
        raise _Unreadable(f"{folder}: its run ended before it began (no {CONFIG})")
    return {str(key): value for key, value in config.items()}


def _summary(folder: Path) -> Mapping[str, float]:
    path = folder / SUMMARY
    if not path.exists():
        raise _Unreadable(f"{folder}: has not finished (no {SUMMARY})")
    try:
        summary = json.loads(_text(path))
    except ValueError as error:
        raise _Unreadable(f"{path}: is no JSON ({error}); taken as not finished") from error
    if not isinstance(summary, dict):
        raise _Unreadable(f"{path}: is no JSON object; taken as not finished")
    return dict(_numbers("", summary))


def _numbers(where: str, node: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in node.items():
        key = f"{where}.{name}" if where else name
        if isinstance(value, Mapping):
            yield from _numbers(key, value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield key, float(value)


def _logged(folder: Path) -> Logged:
    """Lightning's CSVLogger writes several rows a step, each with some of the columns; the last entry counts."""
    path = folder / METRICS
    if not path.exists():
        raise _Unreadable(f"{folder}: has no curves (no {METRICS}; logger=csv writes it)")
    logged: dict[str, dict[int, float]] = {}
    rows = csv.DictReader(_text(path).splitlines())
    try:
        for row in rows:
            step = int(row.pop("step"))
            for name, value in row.items():
                if value and name != "epoch":
                    logged.setdefault(name, {})[step] = float(value)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise _Unreadable(f"{path}: line {rows.line_num} is no row of metrics ({error}); no curves from it") from error
    return logged
