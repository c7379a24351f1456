"""Folders that Hydra is given, and the end of a sweep."""

from __future__ import annotations

from datetime import datetime

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from dopd_lightning.cli import hydra_callbacks
from dopd_lightning.cli.hydra_callbacks import BEGAN, FailedJobs, NewFolder
from dopd_lightning.cli.resolvers import register_resolvers


class Clock(datetime):
    """Clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        return cls(2026, 11, 24, 17, 10, 4)


@pytest.fixture
def composed(tmp_path, monkeypatch):
    """Compose with Hydra's own configuration, below ``tmp_path``, at one moment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hydra_callbacks, "datetime", Clock)
    monkeypatch.setenv(BEGAN, "")
    register_resolvers()

    def config(*overrides):
        with initialize_config_module("dopd_lightning.conf", version_base="1.3"):
            return compose("config", overrides, return_hydra_config=True)

    return config


def test_runs_that_begin_in_one_second_have_folders_of_their_own(composed, tmp_path):
    runs, sweeps = [], []
    for _ in range(2):
        config = composed()
        NewFolder().on_run_start(config)
        runs.append(config.hydra.run.dir)
        config = composed()
        NewFolder().on_multirun_start(config)
        sweeps.append(config.hydra.sweep.dir)
    moment = "2026-11-24_17-10-04"
    assert runs == [f"runs/dopd/{moment}", f"runs/dopd/{moment}_1"]
    assert sweeps == [f"runs/dopd/multirun_{moment}", f"runs/dopd/multirun_{moment}_1"]
    assert sorted(path.name for path in (tmp_path / "runs" / "dopd").iterdir()) == sorted(
        path.rpartition("/")[2] for path in runs + sweeps
    )


def test_a_folder_that_the_user_names_is_taken_as_it_is(composed):
    for _ in range(2):
        config = composed("hydra.run.dir=mine")
        NewFolder().on_run_start(config)
        assert config.hydra.run.dir == "mine"


def test_a_process_that_lightning_starts_finds_its_runs_folder(composed, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(BEGAN, "2026-11-24_17-10-04_3")
    config = composed()
    NewFolder().on_multirun_start(config)
    assert config.hydra.sweep.dir == "runs/dopd/multirun_2026-11-24_17-10-04_3"


def test_where_nothing_can_be_written_is_said_before_hydra_tries(composed, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        SystemExit, match=r"error: paths.runs: 'file/dopd' cannot be written to: Not a directory; choose"
    ):
        NewFolder().on_run_start(composed("paths.runs=file"))


def test_a_sweep_ends_with_what_failed_and_why(composed, tmp_path):
    for job in range(3):
        folder = tmp_path / "sweep" / str(job)
        (folder / ".hydra").mkdir(parents=True)
        OmegaConf.save(["seed=0", f"optimizer.lr={job}"], folder / ".hydra" / "overrides.yaml")
    FailedJobs().on_multirun_end(composed("hydra.sweep.dir=sweep"))
    (tmp_path / "sweep" / "1" / "error.txt").write_text("too much\nmore of it\n")
    with pytest.raises(SystemExit) as ended:
        FailedJobs().on_multirun_end(composed("hydra.sweep.dir=sweep"))
    assert ended.value.code == "\nerror: 1 of the jobs in sweep failed:\n  1  optimizer.lr=1: too much"


def test_the_jobs_of_a_sweep_are_told_apart_in_wandb(composed, monkeypatch):
    config = composed("logger=wandb", "hydra.sweep.dir=runs/sweep", "hydra.mode=MULTIRUN", "hydra.job.num=3")
    monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
    assert (config.logger.wandb.name, config.logger.wandb.group) == ("dopd_3", "sweep")
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    assert (config.logger.wandb.name, config.logger.wandb.group) == ("dopd", None)
