"""Medians, Markdown tables, and the command line that the benchmarks share."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.parts import Seconds


def arguments(description: str, argv: Sequence[str] | None, *, rounds: int) -> argparse.Namespace:
    """``quick``, ``out``, ``clock`` and ``rounds``, which is ``rounds`` if not given, and 1 if quick."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that it runs; the numbers mean nothing"
    )
    parser.add_argument("--out", type=Path, help="a file to write the report to, besides printing it")
    parser.add_argument(
        "--cpu-time",
        action="store_const",
        dest="clock",
        const=time.process_time,
        default=time.perf_counter,
        help="the process's own time instead of wall time, for a busy machine; with OMP_NUM_THREADS=1",
    )
    parser.add_argument("--rounds", type=int, help=f"blocks of each contender, in turn (default: {rounds})")
    found = parser.parse_args(argv)
    found.rounds = found.rounds or (1 if found.quick else rounds)
    return found


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; all columns but the first to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def totals_table(measured: Mapping[str, Sequence[Seconds]], compared_with: Sequence[str]) -> str:
    """Median step, the quartiles around it, and its ratio to the median of each contender that is named."""
    totals = {name: [sum(step.values()) for step in steps] for name, steps in measured.items()}
    medians = {name: statistics.median(seconds) for name, seconds in totals.items()}
    rows = []
    for name, seconds in totals.items():
        quartiles = statistics.quantiles(seconds, n=4, method="inclusive")
        spread = f"{milliseconds(quartiles[0])} to {milliseconds(quartiles[2])}"
        ratios = [f"{medians[name] / medians[other]:.3f}" for other in compared_with]
        rows.append([name, milliseconds(medians[name]), spread, *ratios])
    return table(["step", "ms", "half of the steps, ms", *(f"of {other}'s" for other in compared_with)], rows)


def parts_table(measured: Mapping[str, Sequence[Seconds]], parts: Sequence[str]) -> str:
    """Median of each part, in milliseconds."""
    rows = []
    for part in parts:
        medians = (statistics.median(step.get(part, 0.0) for step in steps) for steps in measured.values())
        rows.append([part, *map(milliseconds, medians)])
    return table(["part, ms", *measured], rows)


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}"


def machine(clock: Callable[[], float]) -> str:
    """Return the properties of the machine that the numbers depend on."""
    time_of = "CPU time" if clock is time.process_time else "Wall time"
    names = ("torch", "transformers", "lightning", "trl")
    packages = ", ".join(f"{name} {found}" for name in names if (found := _version(name)))
    cores = f"{os.cpu_count()} CPU cores ({platform.machine()}), {torch.get_num_threads()} used"
    return f"{time_of}; {cores}; {packages}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def publish(parts: Sequence[str], out: Path | None) -> None:
    """Print paragraphs, and write them to a file if there is one."""
    text = "\n\n".join(parts) + "\n"
    print(text, end="")
    if out is not None:
        out.write_text(text, encoding="utf-8")
