"""The comparison as tables, which every output shows alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dopd_lightning.compare.comparison import Comparison
from dopd_lightning.compare.estimate import Estimate
from dopd_lightning.compare.metrics import member

_NOTHING = "—"


@dataclass(frozen=True)
class Table:
    """Plain text in rows, a row for each group; the first column is the group.

    Attributes:
        title: what it shows.
        columns: their heads.
        rows: each as long as ``columns``.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables_of(comparison: Comparison) -> list[Table]:
    """Return a table of the groups, then for each family of metrics its results and their differences, if any."""
    tables = [_groups(comparison)]
    for family, metrics in comparison.ends.items():
        columns = ["group", "n", *map(member, metrics)]
        numbers = range(len(comparison.groups))
        title = f"{family or 'run'}, at the end"
        ends = [[comparison.end(number, metric) for metric in metrics] for number in numbers]
        tables.append(Table(title, columns, _rows(comparison, ends, 0)))
        differences = {metric: [comparison.difference(number, metric) for number in numbers[1:]] for metric in metrics}
        told = [metric for metric, each in differences.items() if any(one and (one.mean or one.error) for one in each)]
        if told:
            title = f"{family or 'run'}, difference to {comparison.groups[0].label}, seed by seed"
            rows = [[differences[metric][number] for metric in told] for number in range(len(numbers) - 1)]
            tables.append(Table(title, ["group", "n", *map(member, told)], _rows(comparison, rows, 1)))
    return tables


def _groups(comparison: Comparison) -> Table:
    groups = comparison.groups
    rows = []
    for group in groups:
        finished = [str(seed) for seed, replicate in group.replicates.items() if replicate.finished]
        others = [
            f"{seed} (step {replicate.last_step})" if replicate.last_step >= 0 else f"{seed} (nothing logged)"
            for seed, replicate in group.replicates.items()
            if not replicate.finished
        ]
        row = [group.label, *group.settings.values(), ", ".join(finished) or _NOTHING, ", ".join(others) or _NOTHING]
        rows.append(row)
    return Table("Groups", ["group", *groups[0].settings, "seeds", "unfinished seeds"], rows)


def _rows(comparison: Comparison, values: Sequence[Sequence[Estimate | None]], first: int) -> list[list[str]]:
    """Return the rows, with the number of seeds; a value over fewer seeds than the group's others is marked."""
    rows = []
    for group, estimates in zip(comparison.groups[first:], values, strict=True):
        most = max((each.n for each in estimates if each), default=0)
        rows.append([group.label, str(most), *(_cell(each, most, signed=first > 0) for each in estimates)])
    return rows


def _cell(estimate: Estimate | None, most: int, *, signed: bool) -> str:
    if estimate is None:
        return _NOTHING
    sign = "+" if signed and estimate.mean > 0 else ""
    return f"{sign}{estimate}" + (f" (n = {estimate.n})" if estimate.n < most else "")
