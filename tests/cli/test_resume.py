"""Resumed runs: the checkpoint that they find, and the same end."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from dopd_lightning.cli.find_checkpoint import checkpoints_of
from dopd_lightning.cli.stages import run_stage
from dopd_lightning.errors import ConfigError
from tests.cli.runs import STEPS, assert_same_end, checkpoint_of


@pytest.fixture
def fitted(configured, arguments):
    """Run a fit into a folder, and return the folder."""

    def fit(folder: str | Path, *overrides: str) -> Path:
        config = configured(*arguments, *overrides, f"paths.output_dir={folder}", bare=True)
        run_stage(config)
        return Path(folder)

    return fit


KEEP = "callbacks.checkpoint.keep=99"


def ckpt_path(run: Path, step: int) -> str:
    """Override of the checkpoint; Hydra takes a value with an equals sign in quotes."""
    return f"ckpt_path='{run}/checkpoints/step={step}.ckpt'"


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ([], (7,)),
        (["data.batch_size=8", "trainer.max_epochs=4", "reference=ema"], (3, 4)),
        (["sources=[outcome]", "fusion=reward_mix", "data.batch_size=8"], (2,)),
        (["data.batch_size=8", "trainer.max_epochs=2", "trainer.val_check_interval=2"], (2, 3)),
        (["data.batch_size=8", "trainer.max_epochs=-1", "trainer.max_steps=5", "scheduler=constant"], (4,)),
    ],
    ids=str,
)
def test_from_any_step_it_ends_like_one_that_never_stopped(fitted, settings, steps):
    """The default; at the end of an epoch, and beside it; after a validation; with an end by steps."""
    whole = fitted("whole", KEEP, *settings)
    for step in steps:
        resumed = fitted(f"from_{step}", ckpt_path(whole, step), *settings)
        assert_same_end(resumed, whole)


def test_more_epochs_go_on_behind_the_end(fitted):
    settings = ["scheduler=constant", "data.batch_size=8"]
    fitted("whole", "trainer.max_epochs=2", *settings)
    first = fitted("first", "trainer.max_epochs=1", *settings)
    fitted("second", "trainer.max_epochs=2", f"ckpt_path={first}/checkpoints/last.ckpt", *settings)
    one, other = checkpoint_of(Path("second")), checkpoint_of(Path("whole"))
    assert one["global_step"] == other["global_step"] == 6
    assert all(one["state_dict"][name].equal(weight) for name, weight in other["state_dict"].items())


def test_so_does_the_quickstart_as_it_is_shipped(configured):
    """Fewer steps, and fewer problems in evaluations."""
    short = ["+experiment=quickstart", "logger=csv", "trainer.max_steps=4", "trainer.val_check_interval=2"]
    short += ["data.val.size=2", "data.test.size=2", "callbacks.checkpoint.every_n_steps=1", KEEP]
    run_stage(configured(*short, "paths.output_dir=whole", bare=True))
    run_stage(configured(*short, "paths.output_dir=end", ckpt_path(Path("whole"), 3), bare=True))
    assert_same_end(Path("end"), Path("whole"))


@pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval")
def test_the_command_that_the_readme_shows_saves_and_exports(configured, models, lines):
    """Without a batch size; only the length of responses is made to fit the models."""
    (Path("sums.jsonl")).write_text(lines.read_text() * 2)
    command = [f"student.name={models}/student", f"teacher.name={models}/teacher", "data.train.path=sums.jsonl"]
    run_stage(configured(*command, "rollout.max_new_tokens=4", bare=True))
    config = checkpoint_of(Path("run"))["config"]
    assert (config["data"]["batch_size"], config["optimizer"]["lr"]) == (8, 5e-6)
    assert Path("run/student/model.safetensors").exists()


def test_a_checkpoint_of_before_values_were_resolved_is_gone_on_from(fitted, configured, arguments):
    """Runs saved it so up to version 0.1."""
    whole = fitted("whole", KEEP)
    path = whole / "checkpoints" / "step=7.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["config"] = OmegaConf.to_container(configured(*arguments, bare=True), resolve=False)
    assert checkpoint["config"]["optimizer"]["lr"] == "${default:training.optimizer.adamw.lr}"
    _with_earlier_targets(checkpoint["config"])
    torch.save(checkpoint, path)
    assert_same_end(fitted("end", ckpt_path(whole, 7), "optimizer.lr=5e-6"), whole)
    with pytest.raises(ConfigError, match=r"optimizer.lr: 6e-06, but the checkpoint's run had 5e-06"):
        fitted("other", ckpt_path(whole, 7), "optimizer.lr=6e-6")


def _with_earlier_targets(config):
    """Have classes where they were before, and keys that are new absent."""
    config["module"]["_target_"] = "dopd_lightning.module.DOPDModule"
    config["privileged"]["_target_"] = "dopd_lightning.privileged.PrivilegedAccess"
    config["optimizer"]["_target_"] = "dopd_lightning.optimizer.adamw"
    config["optimizer"]["lr"] = "${default:optimizer.adamw.lr}"
    config["reference"]["_target_"] = "dopd_lightning.policies.Reference"
    del config["sources"], config["fusion"]["teacher"], config["fusion"]["reference"]


def test_at_the_end_of_its_run_it_says_that_nothing_is_left_to_train(fitted, caplog):
    whole = fitted("whole")
    resumed = fitted("again", ckpt_path(whole, STEPS))
    assert f"step={STEPS}.ckpt is at the end of its run (trainer.max_epochs=1, trainer.max_steps=-1)" in caplog.text
    assert (resumed / "student" / "model.safetensors").exists()


def _write_odd_files(folder: Path) -> dict[str, str]:
    """Newer ones than those that are there, and what is to be said of each."""
    whole = torch.load(folder / "step=3.ckpt", weights_only=True)
    weight = next(iter(whole["state_dict"]))
    contents: dict[str, Any] = {
        "cut": None,
        "flipped": None,
        "list": {**whole, "config": [1]},
        "without_step": {key: part for key, part in whole.items() if key != "global_step"},
        "without_optimizer": {key: part for key, part in whole.items() if key != "optimizer_states"},
        "without_loops": {key: part for key, part in whole.items() if key != "loops"},
        "nan": {**whole, "state_dict": {**whole["state_dict"], weight: whole["state_dict"][weight] * torch.nan}},
        "other_model": {**whole, "state_dict": {**whole["state_dict"], weight: torch.ones(3)}},
    }
    for name, content in contents.items():
        if content is not None:
            torch.save(content, folder / f"{name}.ckpt")
    data = (folder / "step=3.ckpt").read_bytes()
    (folder / "cut.ckpt").write_bytes(data[:-100])
    place = data.index(whole["state_dict"][weight].numpy().tobytes()[:64]) + 5
    (folder / "flipped.ckpt").write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    (folder / "empty.ckpt").touch()
    (folder / "folder.ckpt").mkdir()
    os.mkfifo(folder / "pipe.ckpt")
    return {
        "cut": "is incomplete",
        "flipped": "is damaged",
        "list": "'config' is missing or invalid",
        "without_step": "'global_step' is missing or invalid",
        "without_optimizer": "'optimizer_states' is missing or invalid",
        "without_loops": "'loops' is missing or invalid",
        "nan": "not finite",
        "other_model": "of another student or source",
        "empty": r"is incomplete \(0 bytes\)",
        "folder": "is not a regular file",
        "pipe": "is not a regular file",
    }


def test_auto_passes_over_odd_files_with_a_line_each(fitted, caplog):
    whole = fitted("whole", KEEP)
    folder = Path("again/checkpoints")
    folder.mkdir(parents=True)
    shutil.copyfile(whole / "checkpoints" / "step=3.ckpt", folder / "step=3.ckpt")
    said = _write_odd_files(folder)
    assert_same_end(fitted("again", "ckpt_path=auto"), whole)
    lines = [record.getMessage() for record in caplog.records if "looking for an earlier one" in record.getMessage()]
    assert len(lines) == len(said)
    for name, reason in said.items():
        assert [line for line in lines if re.search(rf"{name}\.ckpt.*{reason}", line)], name
    with pytest.raises(ConfigError, match="of another student or source"):
        fitted("explicit", f"ckpt_path={folder}/other_model.ckpt")


def test_auto_finds_attempts_at_the_same_run_and_no_others(fitted, configured, arguments, caplog):
    caplog.set_level("INFO")
    whole = fitted("whole") / "checkpoints" / f"step={STEPS}.ckpt"

    def found_from(folder: str, *settings: str) -> list[str]:
        config = configured(*arguments, "ckpt_path=auto", f"paths.output_dir={folder}", *settings, bare=True)
        return [str(path.relative_to("runs")) for path, _ in checkpoints_of(config)]

    for number, folder in enumerate(
        ("a/2026-01-01_00-00-00", "a/mine", "a/multirun_2026-01-01_00-00-00/0", "a/multirun_2026-01-01_00-00-00/1", "a")
    ):
        path = Path("runs", folder, "checkpoints", f"step={STEPS}.ckpt")
        path.parent.mkdir(parents=True)
        shutil.copyfile(whole, path)
        os.utime(path, (number, number))
    file = f"checkpoints/step={STEPS}.ckpt"
    assert found_from("runs/a/2026-01-01_00-00-07") == [f"a/2026-01-01_00-00-00/{file}"], "the same command again"
    assert found_from("runs/a/multirun_2027-01-01_00-00-00/1") == [f"a/multirun_2026-01-01_00-00-00/1/{file}"]
    assert found_from("runs/a/mine") == [f"a/mine/{file}"], "a folder that was asked for is one run's"
    assert found_from("runs/a") == [f"a/{file}"]
    assert found_from("runs/b/2026-01-01_00-00-07") == found_from("runs/a/yours") == []
    assert "finds no checkpoint of this run in runs/a/yours/checkpoints; starting from the beginning" in caplog.text
    assert found_from("runs/a/2026-01-01_00-00-07", "seed=1") == []
    assert "in runs/a/*/checkpoints, but 1 of runs with other settings; starting from the beginning" in caplog.text
    with pytest.raises(ConfigError, match=r"ckpt_path: auto finds no .* runs/a/yours/.*; give ckpt_path=<file>.ckpt"):
        found_from("runs/a/yours", "stage=export")


def test_a_folder_that_cannot_be_written_is_refused_before_models_load(configured, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigError, match=r"paths.output_dir: '.*file/run' cannot be written to: Not a directory; choose"
    ):
        run_stage(configured(f"paths.output_dir={tmp_path}/file/run", "student.name=nowhere"))


def test_auto_without_anything_to_go_on_from_begins(configured, caplog):
    with caplog.at_level("INFO"):
        run_stage(configured("ckpt_path=auto"))
    assert "finds no checkpoint of this run in" in caplog.text
