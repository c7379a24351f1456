"""Groups of runs side by side: their results at the end and their curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dopd_lightning.compare.curves import Curve, curve_of
from dopd_lightning.compare.estimate import Estimate
from dopd_lightning.compare.folders import find_folders
from dopd_lightning.compare.groups import Group, groups_of
from dopd_lightning.compare.metrics import by_family
from dopd_lightning.compare.runs import read_runs
from dopd_lightning.errors import ConfigError


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, the first of which the others are compared with.

    Attributes:
        groups: at least one; labels are unique.
        notes: a sentence for everything that is missing, broken or left out.
    """

    groups: Sequence[Group]
    notes: Sequence[str]

    @classmethod
    def of(cls, patterns: Sequence[str]) -> Comparison:
        """Read the runs that paths or globs lead to.

        Raises:
            ConfigError: if one of them leads to no run, or none of them to a training run that can be read.
        """
        runs, notes = read_runs(find_folders(patterns))
        if not runs:
            raise ConfigError("; ".join([f"runs: {', '.join(patterns)} has no training run to compare", *notes]))
        groups = groups_of(runs)
        for group in groups:
            for seed, replicate in group.replicates.items():
                if len(replicate.parts) > 1:
                    parts = ", ".join(str(part.path) for part in replicate.parts)
                    notes.append(f"{parts}: one run in parts ({group.label}, seed {seed}), which ended as the last did")
        return cls(groups, notes)

    @cached_property
    def ends(self) -> Mapping[str, list[str]]:
        """The metrics that finished runs ended with, by family."""
        return by_family(dict.fromkeys(metric for each in self._ends for own in each.values() for metric in own))

    @cached_property
    def curves(self) -> Sequence[Curve]:
        """Curve of every metric that was logged more than once."""
        logged = [{seed: run.logged for seed, run in group.replicates.items()} for group in self.groups]
        metrics = dict.fromkeys(metric for runs in logged for run in runs.values() for metric in run)
        curves = [
            curve_of(metric, [[run[metric] for run in runs.values() if metric in run] for runs in logged])
            for members in by_family(metrics).values()
            for metric in members
        ]
        return [curve for curve in curves if any(len(points) > 1 for points in curve.points)]

    def end(self, group: int, metric: str) -> Estimate | None:
        """Estimate of a metric at the end of a group, over the seeds that finished; None if none did."""
        return Estimate.of([own[metric] for own in self._ends[group].values() if metric in own])

    def difference(self, group: int, metric: str) -> Estimate | None:
        """A group's end less the first group's, seed by seed; None without a seed that finished in both."""
        ours, first = self._ends[group], self._ends[0]
        common = [seed for seed in ours if metric in ours[seed] and metric in first.get(seed, {})]
        return Estimate.of([ours[seed][metric] - first[seed][metric] for seed in common])

    @cached_property
    def folders(self) -> Sequence[Path]:
        """Folders of all runs in all groups."""
        return [
            part.path for group in self.groups for replicate in group.replicates.values() for part in replicate.parts
        ]

    @cached_property
    def _ends(self) -> Sequence[Mapping[int, Mapping[str, float]]]:
        return [{seed: replicate.ends for seed, replicate in group.replicates.items()} for group in self.groups]
