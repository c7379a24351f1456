"""Results of the runs so far, as Markdown, CSV and figures: study/results/."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from rich.console import Console

from dopd_lightning.compare import Comparison
from dopd_lightning.compare.estimate import Estimate
from dopd_lightning.compare.figures import figures_of
from dopd_lightning.compare.runs import METRICS
from dopd_lightning.compare.text import to_csv, to_markdown
from dopd_lightning.errors import ConfigError
from study.plan import CONF, DONE, Job, composed, jobs_of

_CURVE = "val/accuracy"
"""The one figure of a page, since each page asks how accurate a student is. The tables and the CSV have all metrics."""
_DOTS = 100  # per inch, for a screen
_MOST_CURVES = 16  # more cannot be told apart
_DIGITS = 4
_COLOURS = 128
_ACCURACY = ("test/accuracy", "val/accuracy")


def write_results(experiments: Sequence[str], folder: Path, console: Console) -> None:
    """Write ``<experiment>.md``, ``.csv`` and a figure for each sweep that has a finished run.

    Sweeps that train are compared as by ``stage=compare`` with their ``runs``. Sweeps that test are listed: the CSV has
    a line for each run, the page one for all seeds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for experiment in experiments:
        jobs = jobs_of(experiment)
        ended = [job for job in jobs if job.done]
        if not ended or not any(job.overrides for job in jobs):
            continue
        config = composed(experiment)
        took = _hours(sum(json.loads((job.folder / DONE).read_text())["seconds"] for job in ended))
        head = (
            f"# {experiment}\n\n{_comment(experiment)}\n\n"
            f"`python -m study {experiment}`: {len(ended)} of {len(jobs)} runs, {took} of one core.\n\n"
        )
        try:
            if config.stage == "fit":
                _compare([str(pattern) for pattern in config.runs], experiment, head, folder)
            else:
                _list_tests(ended, experiment, head, folder)
        except ConfigError as error:
            console.print(f"{experiment}: {error}", markup=False, highlight=False)


def _compare(patterns: Sequence[str], experiment: str, head: str, folder: Path) -> None:
    comparison = Comparison.of(patterns)
    picture = ""
    for figure in figures_of(comparison):
        if figure.curve.metric == _CURVE and len(comparison.groups) <= _MOST_CURVES:
            file = folder / f"{experiment}.png"
            figure.save(file, dots=_DOTS)
            with Image.open(file) as drawn:
                few = fewer_colours(drawn)
            few.save(file, optimize=True)
            picture = f"![{_CURVE}]({file.name})\n\n"
    text = f"{head}{picture}{to_markdown(comparison)}"
    (folder / f"{experiment}.md").write_text(text, encoding="utf-8")
    (folder / f"{experiment}.csv").write_text(to_csv(comparison), encoding="utf-8")


def fewer_colours(drawn: Image.Image) -> Image.Image:
    """Return the figure with a palette of `_COLOURS` colours, which makes its file a third of the size.

    The palette covers all colours instead of the frequent ones: by frequency, the bands around the curves take most of
    it, and curves of two groups get one colour.
    """
    return drawn.convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)


def _list_tests(jobs: Sequence[Job], experiment: str, head: str, folder: Path) -> None:
    rows = [{**dict(each.split("=", 1) for each in job.overrides), "accuracy": _accuracy(job)} for job in jobs]
    with (folder / f"{experiment}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    names = [name for name in rows[0] if name not in ("seed", "accuracy")]
    found: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row["accuracy"])
    lines = [[*names, "n", "accuracy"], ["---"] * (len(names) + 2)]
    lines += [[*settings, str(len(values)), str(Estimate.of(values))] for settings, values in found.items()]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    (folder / f"{experiment}.md").write_text(f"{head}{text}\n", encoding="utf-8")


def _accuracy(job: Job) -> float:
    with (job.folder / METRICS).open(encoding="utf-8") as file:
        found = next(float(row[name]) for row in csv.DictReader(file) for name in _ACCURACY if row.get(name))
    return round(found, _DIGITS)


def _comment(experiment: str) -> str:
    """Return the comment at the beginning of the experiment's file."""
    text = (CONF / f"experiment/study/{experiment}.yaml").read_text(encoding="utf-8")
    lines = [line[2:] for line in text.splitlines() if line.startswith("# ")]
    return " ".join(line for line in lines if not line.startswith("@package"))


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"
