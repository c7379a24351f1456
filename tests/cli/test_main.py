"""``python -m dopd_lightning``: processes of their own, and what they print and leave."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.cli.runs import run


@pytest.fixture
def small(models, lines, tmp_path, monkeypatch):
    """Arguments for little data and one step, in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    return [
        f"student.name={models}/student",
        f"teacher.name={models}/teacher",
        f"data.train.path={lines}",
        f"data.val.path={lines}",
        *("fusion.top_k=8", "rollout.max_new_tokens=4", "data.batch_size=2", "trainer.max_steps=1"),
        *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "logger=none"),
    ]


def on_two_processes(*arguments):
    """Run the command as a user does; Lightning starts it once more for the second process."""
    several = ["trainer.devices=2", "data.batch_size=1"]
    command = [sys.executable, "-m", "dopd_lightning", *arguments, *several]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def summaries(folder):
    """Overrides and summary of each job of a sweep, in order."""
    jobs = sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    return [
        (OmegaConf.load(job / ".hydra" / "overrides.yaml"), json.loads((job / "summary.json").read_text()))
        for job in jobs
    ]


def test_what_cannot_work_is_a_sentence_and_a_status(small):
    ended = run([*small, "fusion.normalize=l2"])
    assert ended.returncode == 1
    assert ended.stderr.strip() == "error: fusion.normalize: 'l2' is not one of minmax, none, zscore"
    assert "Traceback" not in ended.stdout


def test_a_sweep_has_a_folder_for_each_combination_and_goes_on_behind_a_job_that_fails(small, tmp_path):
    ended = run(["-m", *small, "fusion=dopd,teacher", "seed=-1,2", "name=sweep"])
    assert ended.returncode == 1
    assert "Traceback" not in ended.stdout + ended.stderr
    (folder,) = (tmp_path / "runs" / "sweep").glob("multirun_*")
    assert f"error: 2 of the jobs in {folder.relative_to(tmp_path)} failed:" in ended.stderr
    why = "seed: -1 must be a whole number from 0 to 4294967295"
    assert ended.stderr.splitlines()[-2:] == [
        f"  {job}  fusion={rule} seed=-1: {why}" for job, rule in ((0, "dopd"), (2, "teacher"))
    ]
    jobs = [OmegaConf.load(folder / str(job) / ".hydra" / "overrides.yaml")[-3:-1] for job in range(4)]
    assert jobs == [[f"fusion={rule}", f"seed={seed}"] for rule in ("dopd", "teacher") for seed in (-1, 2)]
    finished = {job: json.loads((folder / str(job) / "summary.json").read_text()) for job in (1, 3)}
    assert {job: (summary["steps"], bool(summary["regimes"])) for job, summary in finished.items()} == {
        1: (1, True),
        3: (1, False),
    }
    assert all((folder / str(job) / "student" / "model.safetensors").exists() for job in finished)


def test_optuna_searches_and_receives_the_objective(small, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    (documented,) = re.findall(r"^python -m dopd_lightning -m \+experiment=quickstart (.*optuna.*\n.*)", page, re.M)
    search = shlex.split(documented.replace("\\\n", "").replace("n_trials=10", "n_trials=2"), comments=True)
    settings = ["hydra.sweeper.sampler.seed=0", "objective=train/response/length", "name=search"]
    ended = run(["-m", *small, *search, *settings])
    assert ended.returncode == 0, ended.stderr
    (folder,) = (tmp_path / "runs" / "search").glob("multirun_*")
    rates = {item for overrides, _ in summaries(folder) for item in overrides if item.startswith("optimizer.lr=")}
    assert len(rates) == 2
    best = OmegaConf.load(folder / "optimization_results.yaml")
    assert 1 <= best.best_value <= 4
    assert f"optimizer.lr={best.best_params['optimizer.lr']}" in rates


def test_a_sweep_on_two_processes_has_one_folder_a_run_and_goes_on_behind_jobs_that_fail(small, tmp_path):
    """One fails before the processes are there, one while they train."""
    settings = ["strategy=fsdp", "evaluate.student_after=false", "logger=csv", "trainer.max_steps=2", "name=sweep"]
    ended = on_two_processes("-m", *small, *settings, "optimizer.lr=-1,1e30,1e-3,1e-4", "trainer.max_epochs=-1")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stdout + ended.stderr
    (sweep,) = (tmp_path / "runs" / "sweep").iterdir()
    assert ended.stderr.strip().splitlines()[-3:] == [
        f"error: 2 of the jobs in {sweep.relative_to(tmp_path)} failed:",
        "  0  optimizer.lr=-1: optimizer.lr: -1 must be at least 0",
        "  1  optimizer.lr=1e+30: " + (sweep / "1" / "error.txt").read_text().strip(),
    ]
    assert "weights are not finite after step" in (sweep / "1" / "error.txt").read_text()
    assert ended.stderr.count("error: ") == 3, "once of each job, and of the sweep"
    assert all((sweep / job / "student" / "model.safetensors").exists() for job in "23")
    assert all((sweep / job / "csv" / "metrics.csv").stat().st_size for job in "23")
    assert ended.stdout.count("2 steps in") == 2, "the first process speaks for all"


def test_what_several_processes_have_to_say_is_said_once_and_last(small):
    settings = ["strategy=ddp", "name=failing", "optimizer.lr=1e30", "trainer.max_steps=5", "trainer.max_epochs=-1"]
    ended = on_two_processes(*small, *settings)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stdout + ended.stderr
    assert re.match(r"error: the student's weights are not finite after step \d", ended.stderr.strip().splitlines()[-1])
    assert ended.stderr.count("error: ") == 1


def test_one_run_with_processes_started_by_multiprocessing(small, tmp_path):
    several = ["strategy=ddp_spawn", "trainer.devices=2", "data.batch_size=1"]
    ended = run([*small, *several, "name=spawn", "trainer.max_steps=2"])
    assert ended.returncode == 0, ended.stderr
    (folder,) = (tmp_path / "runs" / "spawn").iterdir()
    assert json.loads((folder / "summary.json").read_text())["steps"] == 2
    assert (folder / "student" / "model.safetensors").exists()
    assert (folder / "checkpoints" / "step=2.ckpt").exists()
