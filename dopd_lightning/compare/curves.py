"""The course of a metric in each group: means over seeds, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dopd_lightning.compare.estimate import Estimate

MOST_POINTS = 200
"""A longer curve is averaged over stretches of steps, of equal length in all groups."""


@dataclass(frozen=True)
class Point:
    """Point of a group's curve.

    Attributes:
        step: optimizer steps; the middle, where a point stands for several.
        value: over the seeds that logged there.
    """

    step: float
    value: Estimate


@dataclass(frozen=True)
class Curve:
    """A metric's course.

    Attributes:
        metric: its name.
        points: for each group in order, its points in order; none, where it was not logged.
        stretch: how many steps a point stands for.
    """

    metric: str
    points: Sequence[Sequence[Point]]
    stretch: int


def curve_of(metric: str, groups: Sequence[Sequence[Mapping[int, float]]]) -> Curve:
    """Average over runs, each first over its own stretches.

    Args:
        metric: its name.
        groups: of each group, what each run logged, by step.
    """
    steps = [step for runs in groups for run in runs for step in run]
    first, last = min(steps, default=0), max(steps, default=0)
    stretch = -(-(last - first + 1) // MOST_POINTS) if len({*steps}) > MOST_POINTS else 1
    return Curve(metric, [_points(runs, first, stretch) for runs in groups], stretch)


def _points(runs: Sequence[Mapping[int, float]], first: int, stretch: int) -> list[Point]:
    of_runs: dict[int, list[float]] = {}
    for run in runs:
        for place, values in _stretches(run, first, stretch).items():
            of_runs.setdefault(place, []).append(sum(values) / len(values))
    points = []
    for place in sorted(of_runs):
        value = Estimate.of(of_runs[place])
        assert value is not None
        points.append(Point(first + place * stretch + (stretch - 1) / 2, value))
    return points


def _stretches(run: Mapping[int, float], first: int, stretch: int) -> dict[int, list[float]]:
    stretches: dict[int, list[float]] = {}
    for step, value in run.items():
        stretches.setdefault((step - first) // stretch, []).append(value)
    return stretches
