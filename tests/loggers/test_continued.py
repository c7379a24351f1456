"""A run in several attempts has one CSV file, one W&B run and one set of TensorBoard curves."""

from __future__ import annotations

import csv
import os
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dopd_lightning.callbacks import DivergenceMap, ResumableCheckpoint
from dopd_lightning.cli.stages import run_stage
from dopd_lightning.loggers.wandb_file import read_records

STEPS = 8
OF_TIME = ("train/tokens_per_second", "train/peak_memory")


class Killed(Exception):
    """The process is gone."""


def kill_after(step, saved, patched):
    """End the run after a step: when its checkpoint is ``saved``, before Lightning logs it, or as the next begins."""
    owner, name = (ResumableCheckpoint, "_save") if saved else (DivergenceMap, "on_train_batch_start")
    original = getattr(owner, name)

    def then(callback, trainer, *args):
        if saved or trainer.global_step < step:
            original(callback, trainer, *args)
        if trainer.global_step == step:
            raise Killed

    patched.setattr(owner, name, then)


@pytest.fixture
def attempt(configured, tmp_path, monkeypatch):
    """Run eight steps of an epoch, in ``folder``, with a checkpoint every second, or as far as ``killed`` lets it."""
    (tmp_path / "train.jsonl").write_text('{"prompt": "Add 1 2.", "privileged": "first 1", "answer": 3}\n' * 2 * STEPS)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)

    def run(folder, *overrides, killed=None):
        config = configured(
            f"paths.output_dir={folder}",
            f"data.train.path={tmp_path}/train.jsonl",
            "trainer.max_steps=-1",
            "callbacks.checkpoint.every_n_steps=2",
            "callbacks.divergence_map.every_n_steps=3",
            *overrides,
        )
        with monkeypatch.context() as patched:
            if killed is None:
                run_stage(config)
                return
            kill_after(*killed, patched)
            with pytest.raises(Killed):
                run_stage(config)

    return run


def rows_of(folder):
    """Rows of the CSV file: step and metrics of each, without times."""
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(None not in row and None not in row.values() for row in rows), "each has all columns"
    return [(int(row["step"]), {name for name in row if row[name] and not name.startswith(OF_TIME)}) for row in rows]


def wandb_of(*folders):
    """Ids, and step and metrics of each row, in all W&B files below ``folders``."""
    files = sorted(path for folder in folders for path in folder.glob("wandb/offline-run-*/*.wandb"))
    records = [record for path in files for record in read_records(path)]
    ids = {record.run.run_id for record in records if record.HasField("run")}
    rows = [record.history for record in records if record.HasField("history")]
    names = [{item.key or item.nested_key[0] for item in row.item} for row in rows]
    assert all({"trainer/global_step"} < each for each in names)
    return ids, [
        (row.step.num, {name for name in each if not name.startswith(("_", *OF_TIME))})
        for row, each in zip(rows, names, strict=True)
    ]


def wait_for_wandb(folder):
    """Wait for W&B's process, which closes the file a moment after the run has ended."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    limit = time.monotonic() + 30
    while not any(record.HasField("exit") for record in read_records(path)):
        assert time.monotonic() < limit
        time.sleep(0.05)


def tensorboard_of(folder):
    curves = EventAccumulator(str(folder / "tensorboard"), purge_orphaned_data=True).Reload()
    return {name: [point.step for point in curves.Scalars(name)] for name in ("train/loss", "map/gap", "epoch")}


def cut_the_end_off(folder):
    """Truncate the file, as it is if W&B's process was killed, too."""
    wait_for_wandb(folder)
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    whole = [record.history.step.num for record in read_records(path) if record.HasField("history")]
    size = path.stat().st_size
    while [record for record in read_records(path) if record.HasField("history")][-1].history.step.num > whole[0] + 1:
        size -= 100
        os.truncate(path, size)


def test_steps_are_logged_once_in_however_many_attempts_and_folders(attempt, tmp_path):
    names = ("whole", "own", "first", "second", "ended", "nothing_left")
    whole, own, first, second, ended, nothing_left = (tmp_path / "runs" / name for name in names)
    attempt(whole, "logger=[csv,wandb,tensorboard]")
    steps = [step for step, _ in rows_of(whole)]
    assert sorted({*steps}) == [*range(STEPS + 1)], "the last is of the map after training"

    attempt(own, "logger=[csv,tensorboard]", killed=(5, False))
    attempt(own, "logger=[csv,tensorboard]", f"ckpt_path={own}/checkpoints/last.ckpt")
    assert rows_of(own) == rows_of(whole)
    assert tensorboard_of(own) == tensorboard_of(whole)

    attempt(first, "logger=[csv,wandb]", killed=(4, True))
    cut_the_end_off(first)
    attempt(second, "logger=[csv,wandb]", f"ckpt_path={first}/checkpoints/last.ckpt")
    assert rows_of(second) == rows_of(whole)
    assert [step for step, _ in rows_of(first)] == [step for step in steps if step < 4], "nothing was taken from there"
    attempt(ended, "logger=[csv,wandb,tensorboard]", killed=(STEPS, True))
    cut_the_end_off(ended)
    attempt(nothing_left, "logger=[csv,wandb,tensorboard]", f"ckpt_path={ended}/checkpoints/last.ckpt")
    assert rows_of(nothing_left) == rows_of(whole)
    assert tensorboard_of(nothing_left) == tensorboard_of(whole)
    for folder in (whole, second, nothing_left):
        wait_for_wandb(folder)
    for folders in ((first, second), (ended, nothing_left)):
        ids, rows = wandb_of(*folders)
        assert len(ids) == 1
        assert [step for step, _ in rows] == [step for step, _ in wandb_of(whole)[1]]
