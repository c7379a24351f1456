"""The study's jobs are the commands that Hydra's multirun would run, each in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.plan import CONF, MODELS, SWEEPS, jobs_of

FILES = {path.stem for path in (CONF / "experiment/study").glob("*.yaml")} - {"base", "base_steps"}
MEASURE_MODELS = {name for name in FILES if name.startswith("models") or name.endswith("_validation")}


def test_every_experiment_has_its_place_in_the_plan():
    assert {*MODELS, *SWEEPS} == FILES


def test_a_sweep_is_its_product_in_hydra_s_own_folders():
    jobs = jobs_of("figure4")
    assert len(jobs) == 15
    assert jobs[0].overrides == ("method=opd_privileged", "fusion=prune", "fusion.drop=top", "seed=0")
    assert jobs[0].folder == Path("runs/study/figure4/fusion.drop=top,fusion=prune,method=opd_privileged,seed=0")
    assert len({job.folder for job in jobs}) == 15
    assert not jobs[0].goes_on


def test_a_model_is_one_job_that_goes_on_where_it_was():
    (job,) = jobs_of("teacher")
    assert job.goes_on
    assert job.folder == Path("runs/study/models/teacher")
    assert job.arguments == [
        *("--config-dir", str(CONF)),
        "+experiment=study/teacher",
        "hydra.mode=RUN",
        "hydra.run.dir='runs/study/models/teacher'",
    ]


def test_settings_are_for_all_jobs_and_in_no_folder_s_name():
    job = jobs_of("table1", ["trainer.max_steps=1"])[0]
    assert job.overrides == ("trainer.max_steps=1", "method=dopd", "seed=0")
    assert job.folder.name == "method=dopd,seed=0"


@pytest.mark.parametrize("experiment", sorted(FILES - {*MODELS, "student_steps", *MEASURE_MODELS}))
def test_what_is_compared_is_a_method_over_five_seeds(experiment):
    jobs = jobs_of(experiment)
    seeds = {override for job in jobs for override in job.overrides if override.startswith("seed=")}
    assert seeds == ({"seed=100"} if experiment.startswith("search") else {f"seed={n}" for n in range(5)})


def test_what_an_attempt_left_behind_is_removed_unless_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (left,), (model,) = jobs_of("table1")[:1], jobs_of("teacher")
    for job in (left, model):
        job.folder.mkdir(parents=True)
        job.clear()
    assert not left.folder.exists()
    assert model.folder.exists()
