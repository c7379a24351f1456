"""Comparison of the ends of two runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.kill import differences


def ended(folder: Path, **others: Any) -> Path:
    """A run in two attempts: the first was killed, the second wrote the summary."""
    checkpoint = {
        "global_step": 2,
        "state_dict": {"weight": torch.ones(3)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
        "lr_schedulers": [{"last_epoch": 2}],
        "regime_counts": [1.0, 2.0],
        "random_states": [{"torch": torch.zeros(2, dtype=torch.uint8)}],
    }
    for number in (1, 2):
        path = folder / f"attempt_{number}" / "checkpoints" / f"step={number}.ckpt"
        path.parent.mkdir(parents=True)
        torch.save(checkpoint | others if number == 2 else {}, path)
        os.utime(path, (number, number))
    summary = {"accuracy": {"student_after": others.get("accuracy", 0.5)}, "seconds": id(folder)}
    (folder / "attempt_2" / "summary.json").write_text(json.dumps(summary))
    (folder / "attempt_2" / "csv").mkdir()
    rows = f"step,train/loss,train/peak_memory\n0,{others.get('loss', 0.25)},{id(folder)}\n"
    (folder / "attempt_2" / "csv" / "metrics.csv").write_text(rows)
    return folder


@pytest.mark.parametrize(
    ("others", "names"),
    [
        ({}, []),
        ({"state_dict": {"weight": torch.tensor([1.0, 1.0, 1.0000001])}}, ["checkpoint.state_dict.weight"]),
        ({"optimizer_states": []}, ["checkpoint.optimizer_states.0.state.0.exp_avg"]),
        ({"regime_counts": [1.0, 3.0]}, ["checkpoint.regime_counts.1"]),
        ({"loss": 0.26}, ["metrics.csv.0.train/loss"]),
        ({"accuracy": 0.6}, ["summary.accuracy.student_after"]),
    ],
    ids=str,
)
def test_every_bit_of_the_end_counts_but_for_the_seconds(others, names, tmp_path):
    assert differences(ended(tmp_path / "one", **others), ended(tmp_path / "other")) == names
