"""Runs of the command line for tests: their arguments, their processes, and what is the same at the end of two."""

from __future__ import annotations

import csv
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dopd_lightning.cli.main import main
from tests.forks import context

STEPS = 12
"""Number of steps of a run with ``arguments_in``."""


def arguments_in(folder: Path, models: Path) -> list[str]:
    """Write the data of a run of one epoch, and return its arguments: the defaults, but for sizes and a save a step."""
    rows = [{"prompt": f"Add {n} 2.", "privileged": f"first {n}", "answer": n + 2} for n in range(2 * STEPS)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        f"student.name={models}/student",
        f"teacher.name={models}/teacher",
        "data.train.path=sums.jsonl",
        "data.val.path=sums.jsonl",
        "data.batch_size=2",
        "fusion.top_k=8",
        "rollout.max_new_tokens=4",
        "trainer=cpu",
        "trainer.enable_progress_bar=false",
        "trainer.log_every_n_steps=1",
        "callbacks.checkpoint.every_n_steps=1",
    ]


@dataclass(frozen=True)
class Ended:
    """A process that ended, as :func:`subprocess.run` returns it."""

    returncode: int
    stdout: str
    stderr: str


def _command_line(arguments: Sequence[str], before: Callable[[], None] | None) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for number, name in ((1, "stdout.txt"), (2, "stderr.txt")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["dopd_lightning", *arguments]
    if before is not None:
        before()
    main()


def start(arguments: Sequence[str], before: Callable[[], None] | None = None) -> Any:
    """Begin what ``python -m dopd_lightning`` runs, in a process of its own that need not import anything first.

    Args:
        arguments: of the command line.
        before: what is called in the process, before anything else.
    """
    process = context.Process(target=_command_line, args=(arguments, before))
    process.start()
    return process


def run(arguments: Sequence[str], before: Callable[[], None] | None = None) -> Ended:
    """Run it to its end."""
    process = start(arguments, before)
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return Ended(int(process.exitcode), Path("stdout.txt").read_text(), Path("stderr.txt").read_text())


def checkpoint_of(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def summary_of(folder: Path) -> dict[str, Any]:
    return {**json.loads((folder / "summary.json").read_text()), "seconds": None}


def assert_same_end(found: Path, expected: Path, checkpoint: Path | None = None) -> None:
    """The same bits in the last checkpoint, the same rows of metrics, and the same summary.

    Args:
        found: the folder of the last attempt.
        expected: that of a run that nothing happened to.
        checkpoint: the folder with the last checkpoint, where an earlier attempt has left it.
    """
    one, other = checkpoint_of(checkpoint or found), checkpoint_of(expected)
    assert one["global_step"] == other["global_step"]
    assert all(one["state_dict"][name].equal(weight) for name, weight in other["state_dict"].items())
    for state, there in zip(
        one["optimizer_states"][0]["state"].values(), other["optimizer_states"][0]["state"].values(), strict=True
    ):
        assert all(state[name].equal(there[name]) for name in there)
    assert one["lr_schedulers"] == other["lr_schedulers"]
    assert one["regime_counts"] == other["regime_counts"]
    assert rows_of(found) == rows_of(expected)
    assert summary_of(found) == summary_of(expected)


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Rows of ``metrics.csv``, without times."""
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if not name.startswith(("train/tokens_per_second", "train/peak_memory"))]
    return [{name: row[name] for name in names} for row in rows]
