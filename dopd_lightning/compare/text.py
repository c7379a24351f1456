"""The comparison on the console, in Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import re

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from dopd_lightning.compare.comparison import Comparison
from dopd_lightning.compare.estimate import Estimate
from dopd_lightning.compare.tables import Table, tables_of

MEANING = "mean ± standard error over n seeds that finished; logged metrics: the last value"


def print_tables(comparison: Comparison, console: Console) -> None:
    """Every table, in as many parts as the console's width asks for, and the notes."""
    for table in tables_of(comparison):
        for number, columns in enumerate(_that_fit(table, console.width)):
            shown = RichTable(title=None if number else Text(table.title), title_justify="left")
            shown.add_column(Text(table.columns[0]), overflow="fold")
            for column in columns:
                shown.add_column(Text(table.columns[column]), overflow="fold", justify="right")
            for row in table.rows:
                shown.add_row(Text(row[0]), *(Text(row[column]) for column in columns))
            console.print(shown)
    console.print(Text(MEANING))
    for note in comparison.notes:
        console.print(Text(f"note: {note}"))


def _that_fit(table: Table, width: int) -> list[list[int]]:
    """The columns after the first, in parts; of the first, a third of the width has to do."""
    lines = [table.columns, *table.rows]
    widths = [max(cell_len(line[column]) for line in lines) + 3 for column in range(len(table.columns))]
    room = width - 1 - min(widths[0], width // 3)
    parts: list[list[int]] = [[]]
    for column in range(1, len(table.columns)):
        if parts[-1] and sum(widths[each] for each in (*parts[-1], column)) > room:
            parts.append([])
        parts[-1].append(column)
    return parts


def to_markdown(comparison: Comparison) -> str:
    """Every table in GitHub's Markdown, and the notes; what runs are called is text in it, never markup.

    Example:
        >>> from pathlib import Path
        >>> from dopd_lightning.compare import Comparison
        >>> from dopd_lightning.compare.groups import Group, Replicate
        >>> from dopd_lightning.compare.runs import RunFolder
        >>> run = RunFolder(Path(), {}, 0, {"accuracy": 0.5}, {})
        >>> to_markdown(Comparison([Group("all runs", {}, {0: Replicate([run])})], [])).splitlines()[0]
        '**Groups**'
    """
    parts = [f"**{_as_text(table.title)}**\n\n{_markdown(table)}" for table in tables_of(comparison)]
    parts.append(f"{MEANING[0].upper()}{MEANING[1:]}.")
    if comparison.notes:
        parts.append("\n".join(f"- {_as_text(note)}" for note in comparison.notes))
    return "\n\n".join(parts) + "\n"


def to_csv(comparison: Comparison) -> str:
    """A row for each group and metric, in full precision, empty where nothing is known.

    Columns: ``group``, the settings that differ, ``metric``, ``n``, ``mean``, ``standard_error``, and against the first
    group ``pairs``, ``difference``, ``difference_standard_error``.

    Example:
        >>> from pathlib import Path
        >>> from dopd_lightning.compare import Comparison
        >>> from dopd_lightning.compare.groups import Group, Replicate
        >>> from dopd_lightning.compare.runs import RunFolder
        >>> scores = {0: 0.5, 1: 0.7}  # by seed
        >>> runs = {n: Replicate([RunFolder(Path(), {}, n, {"accuracy": scores[n]}, {})]) for n in scores}
        >>> print(to_csv(Comparison([Group("all runs", {}, runs)], [])).strip())
        group,metric,n,mean,standard_error,pairs,difference,difference_standard_error
        all runs,accuracy,2,0.6,0.09999999999999998,0,,
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    settings = [f"setting.{key}" for key in comparison.groups[0].settings]
    of_differences = ["pairs", "difference", "difference_standard_error"]
    writer.writerow(["group", *settings, "metric", "n", "mean", "standard_error", *of_differences])
    for number, group in enumerate(comparison.groups):
        for metric in (metric for metrics in comparison.ends.values() for metric in metrics):
            end = comparison.end(number, metric)
            difference = comparison.difference(number, metric) if number else None
            cells = [*_cells(end), *_cells(difference)]
            writer.writerow([group.label, *group.settings.values(), metric, *cells])
    return file.getvalue()


def _cells(estimate: Estimate | None) -> list[object]:
    if estimate is None:
        return [0, "", ""]
    return [estimate.n, estimate.mean, "" if estimate.error is None else estimate.error]


def _markdown(table: Table) -> str:
    lines = [table.columns, ["---", *["---:"] * (len(table.columns) - 1)], *table.rows]
    shown = [lines[0], *lines[2:]]
    escaped = [[_as_text(cell) for cell in row] for row in shown]
    return "\n".join(f"| {' | '.join(row)} |" for row in [escaped[0], lines[1], *escaped[1:]])


def _as_text(text: str) -> str:
    text = re.sub(r"([\\`*\[\]|~$#]|(?<!\w)_|_(?!\w))", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))
    return " ".join(text.split())
