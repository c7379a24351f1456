"""Folders of runs, those with a ``config.yaml``, found from paths and globs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from glob import escape, glob
from pathlib import Path

from dopd_lightning.errors import ConfigError

CONFIG = "config.yaml"


def find_folders(patterns: Sequence[str]) -> list[Path]:
    """Folders of runs, in the order of ``patterns``, within each as people count (2 before 10); none comes twice.

    Args:
        patterns: each a path, or a glob where there is no such path. A folder with a ``config.yaml`` is a run, and so
            is one that Hydra began, whose run may have ended before it wrote one. Others are searched below.

    Raises:
        ConfigError: naming the pattern that leads to no run.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        starts = [path] if path.exists() else _matches(path)
        folders = [folder for start in sorted(starts, key=_as_counted) for folder in _runs_below(start)]
        if not folders:
            raise ConfigError(
                f"runs: {pattern!r} leads to no run: there is no {CONFIG} in it or below; give a run's folder, one "
                "above it, or a glob, such as runs='runs/dopd/multirun_*'"
            )
        for folder in folders:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _matches(pattern: Path) -> list[Path]:
    """Paths that a glob matches; a leading part that exists, such as ``runs/[a]``, is no pattern."""
    literal = next(parent for parent in pattern.parents if parent.exists())
    rest = pattern.relative_to(literal)
    return [Path(match) for match in glob(os.path.join(escape(str(literal)), rest), recursive=True)]


def _runs_below(start: Path) -> Iterator[Path]:
    """Hidden folders are not searched: Hydra keeps a ``config.yaml`` of its own in ``.hydra``."""
    for place, names, files in os.walk(start):
        if CONFIG in files or ".hydra" in names:
            names.clear()
            yield Path(place)
        names[:] = sorted((name for name in names if not name.startswith(".")), key=_as_counted)


def _as_counted(name: str | Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(name))]
