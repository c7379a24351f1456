"""Kill the quickstart at random moments, begin it again, and compare its end with that of one that was left alone.

    python -m benchmarks.kill
    python -m benchmarks.kill --kills 5 -- trainer.max_steps=20 trainer.val_check_interval=10 data.test.size=20

Every attempt is ``python -m dopd_lightning +experiment=quickstart ckpt_path=auto``, in a process of its own. SIGKILL
comes at a moment drawn evenly from half of how long the last run took that nothing happened to, so that most runs are
killed more than once. An attempt that ends before its moment is compared, and the next kill is of another run. The
first command here is the quickstart as it is shipped; what comes behind ``--`` is added to it.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.tables import publish, table

_OF_THE_MACHINE = ("train/tokens_per_second", "train/peak_memory")


def attempt(name: str, folder: Path, overrides: Sequence[str], limit: float | None = None) -> bool:
    """Begin the run of this name, or go on with it; return whether it came to its end within ``limit`` seconds.

    Raises:
        SystemExit: if it failed, with the file of what it said.
    """
    command = [sys.executable, "-m", "dopd_lightning", "+experiment=quickstart", "ckpt_path=auto"]
    command += [f"name={name}", f"paths.runs={folder}", "trainer.enable_progress_bar=false", *overrides]
    said = folder / f"{name}.log"
    with said.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return False
    if code:
        raise SystemExit(f"{name} ended with {code}; what it said is in {said}")
    return True


def differences(one: Path, other: Path) -> list[str]:
    """The names of what differs at the end of two runs, given the folders of their attempts.

    Compared are, bit by bit, the newest checkpoint's weights, optimizer, scheduler, random states and regime counts,
    the summary but for its seconds, and the rows of metrics.csv but for what measures the machine.
    """
    ends = [_end(folder) for folder in (one, other)]
    names = dict.fromkeys(name for end in ends for name in end)
    return [name for name in names if not all(name in end for end in ends) or not _same(*(end[name] for end in ends))]


def _end(folder: Path) -> dict[str, Any]:
    newest = max(folder.glob("*/checkpoints/step=*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    checkpoint = torch.load(newest, weights_only=True)
    summary = max(folder.glob("*/summary.json"), key=lambda path: path.stat().st_mtime_ns)
    parts = ("global_step", "state_dict", "optimizer_states", "lr_schedulers", "regime_counts", "random_states")
    found = dict(_flat("checkpoint", {name: checkpoint[name] for name in parts}))
    found |= dict(_flat("metrics.csv", _metrics(summary.parent / "csv" / "metrics.csv")))
    return found | dict(_flat("summary", {**json.loads(summary.read_text(encoding="utf-8")), "seconds": None}))


def _metrics(file: Path) -> list[dict[str, str]]:
    """Rows with the values that they have, in the order of steps."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = sorted(csv.DictReader(lines), key=lambda row: int(row["step"]))
    return [
        {name: value for name, value in row.items() if value and not name.startswith(_OF_THE_MACHINE)} for row in rows
    ]


def _flat(name: str, node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict | list | tuple):
        for key, part in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _flat(f"{name}.{key}", part)
    else:
        yield name, node


def _same(one: Any, other: Any) -> bool:
    return one.equal(other) if isinstance(one, torch.Tensor) else one == other


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="how many (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--folder", type=Path, help="where the runs go, to look at them later (default: none is left)")
    parser.add_argument("--out", type=Path, help="a file to write the report to, besides printing it")
    parser.add_argument("overrides", nargs="*", help="of the command line, such as trainer.max_steps=20")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        attempt("left_alone", folder, options.overrides)
        duration = time.monotonic() - began
        print(f"left alone, it took {duration:.0f} s", flush=True)
        moments, rows, differ, series, killed = random.Random(options.seed), [], False, 0, 0
        attempts = 0
        while killed < options.kills or attempts:
            name, attempts = f"killed_{series}", attempts + 1
            moment = moments.uniform(0, duration / 2) if killed < options.kills else None
            began = time.monotonic()
            if not attempt(name, folder, options.overrides, moment):
                killed += 1
                print(
                    f"{name}: attempt {attempts} killed after {moment:.1f} s ({killed} of {options.kills})", flush=True
                )
                continue
            if attempts == 1:  # as fast as the machine is now
                duration = time.monotonic() - began
            found = differences(folder / name, folder / "left_alone")
            differ = differ or bool(found)
            rows.append([name, str(attempts - 1), "yes" if not found else f"no: {found[0]}, and {len(found) - 1} more"])
            print(f"{name}: ended after {attempts - 1} kills; the same: {rows[-1][-1]}", flush=True)
            series, attempts = series + 1, 0
    command = " ".join(["python -m dopd_lightning +experiment=quickstart ckpt_path=auto", *options.overrides])
    text = f"`{command}`: {killed} kills. Left alone, and killed:"
    publish(["## Killed and begun again", text, table(["run", "kills", "ends the same"], rows)], options.out)
    if differ:
        raise SystemExit("a run that was killed did not end like the one that was left alone")


if __name__ == "__main__":
    main()
