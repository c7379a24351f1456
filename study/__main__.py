"""The whole study, or parts of it.

    python -m study                       # everything that has not been run, then docs/study/
    python -m study table1 table8         # some experiments
    python -m study --no-runs             # only docs/study/, from the runs that there are

Runs that ended are not run again, whenever and however often the command is given.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from study.plan import MODELS, SWEEPS, Job, jobs_of
from study.report import write_results
from study.work import run_all

_RUNS = Path("runs/study")


def main() -> int:
    """0, or 1 if a run failed."""
    arguments = _arguments()
    console = Console()
    failed: list[tuple[Job, str]] = []
    for stage in _stages(arguments.experiments) if arguments.runs else ():
        jobs = [job for experiment in stage for job in jobs_of(experiment, arguments.set)]
        failed += _with_progress(jobs, arguments.processes, console)
    for job, error in failed:
        console.print(f"failed: {' '.join(job.arguments)}\n{error}", markup=False, highlight=False)
    write_results(arguments.experiments, Path("docs/study"), console)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m study", description="Runs the study, and writes its results.")
    parser.add_argument("experiments", nargs="*", help="all by default", metavar="experiment")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, each on one core (default: 2)")
    parser.add_argument("--set", action="append", default=[], help="an override for all runs", metavar="key=value")
    parser.add_argument("--no-runs", dest="runs", action="store_false", help="only write results")
    arguments = parser.parse_args()
    known = [*MODELS, *SWEEPS]
    for experiment in arguments.experiments:
        if experiment not in known:
            parser.error(f"{experiment!r} is no experiment of the study; there are {', '.join(known)}")
    arguments.experiments = arguments.experiments or known
    return arguments


def _stages(experiments: list[str]) -> list[list[str]]:
    """Experiments that can run together; each later one may need what the ones before have made."""
    models = [experiment for experiment in experiments if experiment in MODELS]
    return [models, *([experiment] for experiment in experiments if experiment not in MODELS)]


def _with_progress(jobs: list[Job], processes: int, console: Console) -> list[tuple[Job, str]]:
    """Run what is not done; which jobs failed, and why."""
    missing = [job for job in jobs if not job.done]
    failed = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(
            jobs[0].experiment if jobs else "", total=len(jobs), completed=len(jobs) - len(missing)
        )
        for job, error in run_all(missing, processes, _RUNS / "logs"):
            if error is not None:
                failed.append((job, error))
            progress.advance(task)
    return failed


if __name__ == "__main__":
    sys.exit(main())
