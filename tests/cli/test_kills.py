"""Runs that are killed, told to stop, or cannot save, and what goes on from what they left."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from dopd_lightning.cli import stages
from dopd_lightning.cli.main import main
from tests.cli.runs import STEPS, arguments_in, assert_same_end, checkpoint_of
from tests.forks import context

KILLS = 3  # more of them, over the quickstart: benchmarks/kill.py


def command_line(arguments: list[str], before: Callable[[], None] | None = None) -> None:
    """What ``python -m dopd_lightning`` runs, in a process of its own; what it says is in ``console.txt``."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    console = os.open("console.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(console, 1)
    os.dup2(console, 2)
    sys.argv = ["dopd_lightning", *arguments]
    if before is not None:
        before()
    main()


def start(arguments: list[str], before: Callable[[], None] | None = None) -> Any:
    process = context.Process(target=command_line, args=(arguments, before))
    process.start()
    return process


def run(arguments: list[str], before: Callable[[], None] | None = None) -> int:
    """Its exit status."""
    process = start(arguments, before)
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return int(process.exitcode)


def attempt(name: str, number: int) -> Path:
    """A folder as runs have them by default, named by the moment."""
    return Path("runs", name, f"2026-01-01_00-00-{number:02}")


@dataclass
class LeftAlone:
    """A run that nothing happens to.

    Attributes:
        folder: that it left.
        seconds: that it took.
    """

    folder: Path
    seconds: float


@pytest.fixture(scope="module")
def left_alone(models, tmp_path_factory) -> LeftAlone:
    place = tmp_path_factory.mktemp("left_alone")
    with contextlib.chdir(place):
        start(["--version"]).join()  # the first process waits for the imports of all
        began = time.monotonic()
        assert run([*arguments_in(place, models), "paths.output_dir=run"]) == 0
        assert checkpoint_of(Path("run"))["global_step"] == STEPS
    return LeftAlone(place / "run", time.monotonic() - began)


def go_on(arguments: list[str], name: str, left_alone: LeftAlone) -> None:
    """To the end, which is that of the run that was left alone."""
    end = attempt(name, 59)
    assert run([*arguments, f"name={name}", "ckpt_path=auto", f"paths.output_dir={end}"]) == 0, console()
    assert_same_end(end, left_alone.folder, where_it_ended(name))


def where_it_ended(name: str) -> Path:
    """The folder of the last checkpoint: after a run that was killed at its very end, nothing is left to go on with."""
    last = max(Path("runs", name).glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    return last.parents[1]


def console() -> str:
    return Path("console.txt").read_text()


def wait_for(path: Path) -> None:
    limit = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < limit, f"no {path}"
        time.sleep(0.01)


def test_a_run_killed_at_random_moments_ends_like_one_that_was_left_alone(arguments, left_alone):
    """A run that comes to its end between two kills is compared, and another one begun."""
    moments = random.Random(0)
    series = kills = attempts = 0
    while kills < KILLS:
        assert attempts < 10 * KILLS
        attempts += 1
        name = f"killed_{series}"
        folder = attempt(name, attempts)
        process = start([*arguments, f"name={name}", "ckpt_path=auto", f"paths.output_dir={folder}"])
        process.join(moments.uniform(0.3, 0.9) * left_alone.seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        else:
            assert process.exitcode == 0, console()
            assert_same_end(folder, left_alone.folder, where_it_ended(name))
            series += 1
    go_on(arguments, f"killed_{series}", left_alone)


def _die_in_the_third_save() -> None:
    saves = []

    def save(checkpoint: Any, file: Any) -> None:
        saves.append(checkpoint["global_step"])
        if len(saves) == 3:
            file.write(b"half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        torch_save(checkpoint, file)

    torch_save, torch.save = torch.save, save  # type: ignore[assignment]


def test_killed_in_the_middle_of_a_save_it_goes_on_from_the_one_before(arguments, left_alone):
    name = "half"
    code = run([*arguments, f"name={name}", f"paths.output_dir={attempt(name, 0)}"], _die_in_the_third_save)
    assert code == -signal.SIGKILL
    folder = attempt(name, 0) / "checkpoints"
    assert {path.name for path in folder.iterdir()} == {"step=1.ckpt", "step=2.ckpt", "last.ckpt", ".step=3.ckpt.part"}
    go_on(arguments, name, left_alone)
    assert "step=2.ckpt (2 steps)" in console()
    assert not (folder / ".step=3.ckpt.part").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_saves_and_stops(arguments, left_alone, number):
    name, folder = "stopped", attempt("stopped", 0)
    process = start([*arguments, f"name={name}", f"paths.output_dir={folder}"])
    wait_for(folder / "checkpoints" / "last.ckpt")
    os.kill(process.pid, number)
    process.join(120)
    assert process.exitcode == 128 + number
    steps = checkpoint_of(folder)["global_step"]
    assert f"stopped by {number.name} after {steps} steps; saved " in console()
    assert not (folder / "student").exists(), "a run that is not over leaves no student"
    go_on(arguments, name, left_alone)


def _press_ctrl_c_while_models_load() -> None:
    def build(config: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    stages.build = build  # type: ignore[assignment]


def test_ctrl_c_before_training_is_a_sentence(arguments):
    assert run([*arguments, "paths.output_dir=runs/early"], _press_ctrl_c_while_models_load) == 130
    assert console().strip().splitlines()[-1] == "stopped by SIGINT outside of training; nothing more was saved"


def _fill_the_disk_after_two_saves() -> None:
    saves = []

    def save(checkpoint: Any, file: Any) -> None:
        saves.append(checkpoint["global_step"])
        if len(saves) == 3:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        torch_save(checkpoint, file)

    torch_save, torch.save = torch.save, save  # type: ignore[assignment]


def test_a_full_disk_is_an_error_and_leaves_the_earlier_checkpoints(arguments, left_alone):
    name, folder = "full", attempt("full", 0)
    assert run([*arguments, f"name={name}", f"paths.output_dir={folder}"], _fill_the_disk_after_two_saves) == 1
    said = console()
    assert f"error: the checkpoint '{folder}/checkpoints/step=3.ckpt' could not be written: " in said
    assert "earlier ones are as they were" in said
    assert "Traceback" not in said
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"step=1.ckpt", "step=2.ckpt", "last.ckpt"}
    go_on(arguments, name, left_alone)
