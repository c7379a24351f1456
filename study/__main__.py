"""Run the whole study, or parts of it.

    python -m study                       # everything that has not been run, then study/results/
    python -m study table1 table8         # some experiments
    python -m study --no-runs             # only study/results/, from the runs that there are
    python -m study --results elsewhere   # leaves study/results/ as it is

Finished runs are not run again. A command waits for another command that runs the same experiment.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from study.plan import MODELS, SWEEPS, Job, jobs_of
from study.results import write_results
from study.work import run_all

_RUNS = Path("runs/study")


def main() -> int:
    """Run the command; return 0, or 1 if a run failed."""
    arguments = _arguments()
    console = Console()
    failed = _run(arguments.experiments, arguments.set, arguments.processes, console) if arguments.runs else []
    for job, error in failed:
        console.print(f"failed: {' '.join(job.arguments)}\n{error}", markup=False, highlight=False, soft_wrap=True)
    write_results(arguments.experiments, arguments.results, console)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m study", description="Runs the study, and writes its results.")
    parser.add_argument("experiments", nargs="*", help="all by default", metavar="experiment")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, each on one core (default: 2)")
    parser.add_argument("--set", action="append", default=[], help="an override for all runs", metavar="key=value")
    parser.add_argument("--results", type=Path, default=Path("study/results"), help="their folder", metavar="folder")
    parser.add_argument("--no-runs", dest="runs", action="store_false", help="only write results")
    arguments = parser.parse_args()
    known = [*MODELS, *SWEEPS]
    for experiment in arguments.experiments:
        if experiment not in known:
            parser.error(f"{experiment!r} is no experiment of the study; there are {', '.join(known)}")
    arguments.experiments = arguments.experiments or known
    return arguments


def _run(experiments: list[str], settings: list[str], processes: int, console: Console) -> list[tuple[Job, str]]:
    """Run the jobs that are not done, with one progress bar; return those that failed, with their errors."""
    stages = [[job for experiment in stage for job in jobs_of(experiment, settings)] for stage in _stages(experiments)]
    jobs = [job for stage in stages for job in stage]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    failed = []
    # A run takes almost a minute: the remaining time is estimated from all runs of the last hour.
    with Progress(*columns, TimeRemainingColumn(), console=console, speed_estimate_period=3600) as progress:
        bar = progress.add_task("", total=len(jobs), completed=sum(job.done for job in jobs))
        for stage in stages:
            progress.update(bar, description=stage[0].experiment)
            with _alone(stage):
                missing = [job for job in stage if not job.done]
                progress.update(bar, completed=len(failed) + sum(job.done for job in jobs))
                for job, error in run_all(missing, processes, _RUNS / "logs"):
                    if error is not None:
                        failed.append((job, error))
                    progress.advance(bar)
    return failed


@contextmanager
def _alone(jobs: Sequence[Job]) -> Iterator[None]:
    """Hold the locks of the jobs' experiments: two commands with one experiment would clear each other's folders."""
    _RUNS.mkdir(parents=True, exist_ok=True)
    with ExitStack() as locks:
        for experiment in sorted({job.experiment for job in jobs}):
            locks.enter_context(FileLock(_RUNS / f".{experiment}.lock").acquire(poll_interval=1))
        yield


def _stages(experiments: list[str]) -> list[list[str]]:
    """Group experiments that can run together; each group may need the models of the groups before."""
    models = [experiment for experiment in experiments if experiment in MODELS]
    others = [[experiment] for experiment in experiments if experiment not in MODELS]
    return [models, *others] if models else others


if __name__ == "__main__":
    sys.exit(main())
