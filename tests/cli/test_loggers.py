"""A default run on a disk that has no room for what watches it: that is switched off, and what was trained is kept."""

from __future__ import annotations

import json
import pickle

import pytest
from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.pytorch.loggers import CSVLogger

from dopd_lightning.callbacks import divergence_map
from dopd_lightning.cli.loggers import dispensable
from dopd_lightning.cli.stages import run_stage


def full(*args, **options):
    raise OSError(28, "No space left on device")


@pytest.mark.filterwarnings("always:the (callback|logger)")
def test_maps_and_logs_that_cannot_be_written_end_no_run(configured, monkeypatch, tmp_path, recwarn):
    monkeypatch.setattr(divergence_map, "render_page", full)
    monkeypatch.setattr(_ExperimentWriter, "save", full)
    run_stage(configured("callbacks.divergence_map.every_n_steps=1"))
    run = tmp_path / "run"
    assert (run / "student" / "model.safetensors").exists()
    assert json.loads((run / "summary.json").read_text())["steps"] == 2
    said = sorted(str(each.message).split(" failed and")[0] for each in recwarn if "goes on" in str(each.message))
    assert said == ["the callback DivergenceMap", "the logger CSVLogger"]


def test_processes_can_be_given_a_copy(tmp_path):
    copy = pickle.loads(pickle.dumps(dispensable(CSVLogger(tmp_path, name="", version="csv"))))
    copy.log_metrics({"a": 1}, 0)
    copy.save()
    assert (tmp_path / "csv" / "metrics.csv").read_text() == "a,step\n1,0\n"
