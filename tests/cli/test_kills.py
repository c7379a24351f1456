"""Runs that are killed, told to stop, or cannot save, and what goes on from what they left."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from dopd_lightning.callbacks import DivergenceMap, ExportStudent
from dopd_lightning.cli import stages
from tests.cli.runs import STEPS, Ended, arguments_in, assert_same_end, checkpoint_of, run, start

KILLS = 3  # more of them, over the quickstart: benchmarks/kill.py


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
        ended = run([*arguments_in(place, models), "paths.output_dir=run"])
        assert ended.returncode == 0, ended.stderr
        assert checkpoint_of(Path("run"))["global_step"] == STEPS
    return LeftAlone(place / "run", time.monotonic() - began)


def go_on(arguments: list[str], name: str, left_alone: LeftAlone) -> Ended:
    """Run to the end, and compare it with that of the run that was left alone."""
    end = attempt(name, 59)
    ended = run([*arguments, f"name={name}", "ckpt_path=auto", f"paths.output_dir={end}"])
    assert ended.returncode == 0, ended.stderr
    assert_same_end(end, left_alone.folder, where_it_ended(name))
    return ended


def where_it_ended(name: str) -> Path:
    """The folder of the last checkpoint: after a run that was killed at its very end, nothing is left to go on with."""
    last = max(Path("runs", name).glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    return last.parents[1]


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
            assert process.exitcode == 0, Path("stderr.txt").read_text()
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
    ended = run([*arguments, f"name={name}", f"paths.output_dir={attempt(name, 0)}"], _die_in_the_third_save)
    assert ended.returncode == -signal.SIGKILL
    folder = attempt(name, 0) / "checkpoints"
    assert {path.name for path in folder.iterdir()} == {"step=1.ckpt", "step=2.ckpt", "last.ckpt", ".step=3.ckpt.part"}
    assert "step=2.ckpt (2 steps)" in go_on(arguments, name, left_alone).stdout
    assert not (folder / ".step=3.ckpt.part").exists()


def _die_before_the_last_map() -> None:
    DivergenceMap.on_train_end = lambda *hook: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]


def _die_before_the_export() -> None:
    ExportStudent.on_fit_end = lambda *hook: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]


@pytest.mark.parametrize(("before", "steps"), [(_die_before_the_last_map, STEPS - 1), (_die_before_the_export, STEPS)])
def test_killed_after_the_last_step_nothing_is_missing_at_the_end(arguments, left_alone, before, steps):
    name = "last"
    ended = run([*arguments, f"name={name}", f"paths.output_dir={attempt(name, 0)}"], before)
    assert ended.returncode == -signal.SIGKILL
    assert checkpoint_of(attempt(name, 0))["global_step"] == steps
    go_on(arguments, name, left_alone)
    files = {path.name for path in attempt(name, 59).iterdir()}
    assert {"divergence_map.html", "student", "summary.json"} <= files
    one, other = (folder / "divergence_map" for folder in (attempt(name, 59), left_alone.folder))
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_saves_and_stops(arguments, left_alone, number):
    name, folder = "stopped", attempt("stopped", 0)
    process = start([*arguments, f"name={name}", f"paths.output_dir={folder}"])
    wait_for(folder / "checkpoints" / "last.ckpt")
    os.kill(process.pid, number)
    process.join(120)
    assert process.exitcode == 128 + number
    steps = checkpoint_of(folder)["global_step"]
    assert f"stopped by {number.name} after {steps} steps; saved " in Path("stdout.txt").read_text()
    assert not (folder / "student").exists(), "a run that is not over leaves no student"
    go_on(arguments, name, left_alone)


def _press_ctrl_c_while_models_load() -> None:
    def build(config: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    stages.build = build  # type: ignore[assignment]


def test_ctrl_c_before_training_is_a_sentence(arguments):
    ended = run([*arguments, "paths.output_dir=runs/early"], _press_ctrl_c_while_models_load)
    assert ended.returncode == 130
    assert ended.stdout.strip().splitlines()[-1] == "stopped by SIGINT outside of training; nothing more was saved"


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
    ended = run([*arguments, f"name={name}", f"paths.output_dir={folder}"], _fill_the_disk_after_two_saves)
    assert ended.returncode == 1
    assert f"error: the checkpoint '{folder}/checkpoints/step=3.ckpt' could not be written: " in ended.stderr
    assert "earlier ones are unchanged" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"step=1.ckpt", "step=2.ckpt", "last.ckpt"}
    go_on(arguments, name, left_alone)
