"""Runs that are equal but for the seed, together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dopd_lightning.compare.differences import ABSENT, Difference, differences_of
from dopd_lightning.compare.runs import Logged, RunFolder

_WITHOUT_DIFFERENCES = "all runs"


@dataclass(frozen=True)
class Replicate:
    """A group's run with one seed, maybe in several parts: one that was killed, and one that went on from it.

    Attributes:
        parts: in the order in which they ran.
    """

    parts: Sequence[RunFolder]

    @property
    def finished(self) -> bool:
        """True if the last part of the run finished."""
        return self.parts[-1].summary is not None

    @property
    def last_step(self) -> int:
        """The last that was logged, -1 without any."""
        return max(part.last_step for part in self.parts)

    @property
    def logged(self) -> Logged:
        """Logged metrics of all parts; where two logged the same step, the later one counts."""
        together: dict[str, dict[int, float]] = {}
        for part in self.parts:
            for metric, points in part.logged.items():
                together.setdefault(metric, {}).update(points)
        return together

    @property
    def ends(self) -> dict[str, float]:
        """Results at the end: the summary, and the last value of each logged metric; empty if the run is unfinished."""
        if not self.finished:
            return {}
        last = {metric: points[max(points)] for metric, points in self.logged.items()}
        return {**(self.parts[-1].summary or {}), **last}


@dataclass(frozen=True)
class Group:
    """Runs with the same configuration but for the seed.

    Attributes:
        label: what sets it apart, on one line; no other group has it.
        settings: every value in which it differs from others, by name.
        replicates: by seed.
    """

    label: str
    settings: Mapping[str, str]
    replicates: Mapping[int, Replicate]


def groups_of(runs: Sequence[RunFolder]) -> list[Group]:
    """Put runs together by what sets them apart, in the order in which the groups first come."""
    differences = differences_of([run.config for run in runs])
    members: dict[tuple[str, ...], list[int]] = {}
    for number in range(len(runs)):
        members.setdefault(tuple(each.values[number] for each in differences), []).append(number)
    labels = _labels([each for each in differences if not each.implied], [numbers[0] for numbers in members.values()])
    groups = []
    for label, (values, numbers) in zip(labels, members.items(), strict=True):
        settings = {each.name: value for each, value in zip(differences, values, strict=True)}
        seeds = sorted({runs[number].seed for number in numbers})
        parts = {seed: _in_order([runs[number] for number in numbers if runs[number].seed == seed]) for seed in seeds}
        groups.append(Group(label, settings, {seed: Replicate(each) for seed, each in parts.items()}))
    return groups


def _in_order(parts: Sequence[RunFolder]) -> list[RunFolder]:
    """Finished ones after others, those that came further after those that stopped before."""
    return sorted(parts, key=lambda part: (part.summary is not None, part.last_step))


def _labels(differences: Sequence[Difference], runs: Sequence[int]) -> list[str]:
    """Return a label for one run of each group; keys that it lacks are left out if labels stay distinct."""
    each = [[(difference.name, difference.values[run]) for difference in differences] for run in runs]
    full = [", ".join(f"{name}={value}" for name, value in own) for own in each]
    short = [", ".join(f"{name}={value}" for name, value in own if value != ABSENT) for own in each]
    labels = short if len({*short}) == len(short) and all(short) else full
    twice = {label for label in labels if labels.count(label) > 1}  # a value may hold what looks like the next key
    return [f"{label} ({n})" if label in twice else label or _WITHOUT_DIFFERENCES for n, label in enumerate(labels, 1)]
