"""Runs that are killed, told to stop, or cannot save, and what goes on from what they left."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dopd_lightning.cli.main import main
from dopd_lightning.cli.stages import run_stage
from dopd_lightning.errors import ConfigError

KILLS = 20
STEPS = 12

_context = multiprocessing.get_context("forkserver")  # each run a process of its own, without seconds of imports
_context.set_forkserver_preload(["dopd_lightning.cli.main", "transformers.models.qwen3.modeling_qwen3"])


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
    process = _context.Process(target=command_line, args=(arguments, before))
    process.start()
    return process


def run(arguments: list[str], before: Callable[[], None] | None = None) -> int:
    """Its exit status."""
    process = start(arguments, before)
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return int(process.exitcode)


@pytest.fixture
def arguments(models, tmp_path, monkeypatch) -> list[str]:
    """Of a run of ``STEPS`` steps that saves after each, five steps an epoch, with validation."""
    monkeypatch.chdir(tmp_path)
    lines = "".join(f'{{"prompt": "Add {n} 2.", "privileged": "first {n}", "answer": {n + 2}}}\n' for n in range(10))
    (tmp_path / "sums.jsonl").write_text(lines)
    return [
        f"student.name={models}/student",
        f"teacher.name={models}/teacher",
        "data.train.path=sums.jsonl",
        "data.val.path=sums.jsonl",
        "data.batch_size=2",
        "data.eval_batch_size=10",
        "fusion.top_k=8",
        "reference=ema",
        "rollout.max_new_tokens=4",
        "rollout.samples_per_prompt=2",
        "trainer=cpu",
        "trainer.enable_progress_bar=false",
        "trainer.max_epochs=-1",
        f"trainer.max_steps={STEPS}",
        "trainer.val_check_interval=2",
        "callbacks.checkpoint.every_n_steps=1",
        "optimizer.lr=0.01",
    ]


def checkpoint_of(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_end(found: Path, expected: Path) -> None:
    one, other = checkpoint_of(found), checkpoint_of(expected)
    assert one["global_step"] == other["global_step"] == STEPS
    assert all(one["state_dict"][name].equal(weight) for name, weight in other["state_dict"].items())
    for state, there in zip(
        one["optimizer_states"][0]["state"].values(), other["optimizer_states"][0]["state"].values(), strict=True
    ):
        assert all(state[name].equal(there[name]) for name in there)
    assert one["regime_counts"] == other["regime_counts"]


@pytest.fixture
def left_alone(arguments) -> Path:
    """The folder of a run that nothing happens to."""
    assert run([*arguments, "name=left_alone", "paths.output_dir=runs/left_alone"]) == 0
    return Path("runs/left_alone")


def go_on(arguments: list[str], name: str) -> Path:
    """To the end."""
    assert run([*arguments, f"name={name}", "ckpt_path=auto", f"paths.output_dir=runs/{name}/end"]) == 0
    return Path("runs", name, "end")


def where_it_ended(name: str) -> Path:
    """The folder of the last checkpoint: after a run that was killed at its very end, nothing is left to go on with."""
    last = max(Path("runs", name).glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    return last.parents[1]


def console() -> str:
    return Path("console.txt").read_text()


def wait_for(path: Path) -> None:
    limit = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < limit, f"no {path}"
        time.sleep(0.01)


def test_a_run_killed_at_random_moments_ends_like_one_that_was_left_alone(arguments, left_alone):
    """Twenty times; a run that comes to its end between two kills is compared, and another one begun."""
    began = time.monotonic()
    assert run([*arguments, "name=again", "paths.output_dir=runs/again"]) == 0
    duration = time.monotonic() - began
    assert_same_end(Path("runs/again"), left_alone)
    moments = random.Random(0)
    series = kills = attempts = 0
    while kills < KILLS:
        assert attempts < 10 * KILLS
        attempts += 1
        name = f"killed_{series}"
        folder = Path("runs", name, str(attempts))
        process = start([*arguments, f"name={name}", "ckpt_path=auto", f"paths.output_dir={folder}"])
        process.join(moments.uniform(0.3, 0.9) * duration)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        else:
            assert process.exitcode == 0, console()
            assert_same_end(where_it_ended(name), left_alone)
            series += 1
    go_on(arguments, f"killed_{series}")
    assert_same_end(where_it_ended(f"killed_{series}"), left_alone)


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
    code = run([*arguments, f"name={name}", f"paths.output_dir=runs/{name}/0"], _die_in_the_third_save)
    assert code == -signal.SIGKILL
    folder = Path("runs", name, "0", "checkpoints")
    assert {path.name for path in folder.iterdir()} == {"step=1.ckpt", "step=2.ckpt", "last.ckpt", ".step=3.ckpt.part"}
    end = go_on(arguments, name)
    assert "step=2.ckpt (2 steps)" in console()
    assert_same_end(end, left_alone)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_told_to_stop_it_saves_and_stops(arguments, left_alone, number):
    name = "stopped"
    process = start(
        [*arguments, "callbacks.checkpoint.every_n_steps=1000", f"name={name}", f"paths.output_dir=runs/{name}/0"]
    )
    wait_for(Path("runs", name, "0", "checkpoints", "last.ckpt"))  # of the first validation
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 128 + number
    steps = checkpoint_of(Path("runs", name, "0"))["global_step"]
    assert f"stopped by {number.name} after {steps} steps; saved " in console()
    assert not Path("runs", name, "0", "student").exists(), "a run that is not over leaves no student"
    assert_same_end(go_on(arguments, name), left_alone)


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
    name = "full"
    assert run([*arguments, f"name={name}", f"paths.output_dir=runs/{name}/0"], _fill_the_disk_after_two_saves) == 1
    said = console()
    assert "error: the checkpoint 'runs/full/0/checkpoints/step=3.ckpt' could not be written: " in said
    assert "earlier ones are as they were" in said
    assert "Traceback" not in said
    folder = Path("runs", name, "0", "checkpoints")
    assert {path.name for path in folder.iterdir()} == {"step=1.ckpt", "step=2.ckpt", "last.ckpt"}
    assert_same_end(go_on(arguments, name), left_alone)


def test_auto_passes_over_what_is_not_whole_and_what_is_of_another_configuration(arguments, left_alone):
    folder = left_alone / "checkpoints"
    newest, other = folder / f"step={STEPS}.ckpt", folder / f"step={STEPS - 1}.ckpt"
    newest.write_bytes(newest.read_bytes()[:-100])
    assert run([*arguments, "name=left_alone", "ckpt_path=auto", "paths.output_dir=runs/left_alone/2"]) == 0
    assert f"step={STEPS}.ckpt' is not a checkpoint of a run, or not all of one" in console()
    assert f"going on from {other} ({STEPS - 1} steps)" in console()
    assert run([*arguments, "name=left_alone", "ckpt_path=auto", "seed=1", "paths.output_dir=runs/left_alone/3"]) == 0
    assert "of runs with other settings; starting from the beginning" in console()
    assert checkpoint_of(Path("runs/left_alone/3"))["config"]["seed"] == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            "fusion.top_k=4",
            "fusion.top_k: 4, but the checkpoint's run had 8; go on with what it had, or begin a new run",
        ),
        ("optimizer.lr=0.1", "optimizer.lr: 0.1, but the checkpoint's run had 0.01"),
        ("reference.decay=0.5", "reference.decay: 0.5, but the checkpoint's run had"),
        ("data.batch_size=1", r"data.batch_size: 1 on 1 process\(es\), .* makes 1 prompts a step, .* had 2"),
        ("trainer.accumulate_grad_batches=2", "makes 4 prompts a step, but the checkpoint's run had 2"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(arguments, left_alone, other, message):
    path = left_alone / "checkpoints" / "last.ckpt"
    assert run([*arguments, other, f"ckpt_path={path}", "paths.output_dir=runs/refused"]) == 1
    assert re.search(message, console())


def test_how_long_where_and_how_watched_may_change(arguments, left_alone):
    path = left_alone / "checkpoints" / "last.ckpt"
    changed = ["trainer.max_steps=14", "callbacks.checkpoint.keep=1", "logger=none", "trainer.val_check_interval=5"]
    changed.append("privileged.evaluation=true")
    assert (
        run(
            [
                *arguments,
                *changed,
                "data.batch_size=1",
                "trainer.accumulate_grad_batches=2",
                f"ckpt_path={path}",
                "paths.output_dir=runs/more",
            ]
        )
        == 0
    )
    assert checkpoint_of(Path("runs/more"))["global_step"] == 14


def test_a_folder_that_cannot_be_written_is_refused_before_models_load(configured, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigError, match=r"paths.output_dir: '.*file/run' cannot be written to: Not a directory; choose"
    ):
        run_stage(configured(f"paths.output_dir={tmp_path}/file/run", "student.name=nowhere"))


def test_auto_without_anything_to_go_on_from_begins(configured, caplog):
    with caplog.at_level("INFO"):
        run_stage(configured("ckpt_path=auto"))
    assert "no checkpoint of this run in" in caplog.text
