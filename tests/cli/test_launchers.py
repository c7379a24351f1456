"""Jobs that others start: the submitit launcher of Hydra."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from dopd_lightning.cli.resolvers import register_resolvers

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def documented(pattern):
    """The arguments of a command on the page."""
    (found,) = re.findall(pattern, PAGE, re.MULTILINE)
    return shlex.split(found.replace("\\\n", " "), comments=True)


@pytest.fixture
def small(models, lines):
    """Little, on the CPU: what is given last counts."""
    return [
        *(f"student.name={models}/student", f"teacher.name={models}/teacher", f"data.train.path={lines}"),
        *("fusion.top_k=8", "rollout.max_new_tokens=4", "data.batch_size=1", "trainer.max_steps=1"),
        *("trainer=cpu", "trainer.enable_progress_bar=false", "logger=none", "evaluate.student_after=false"),
    ]


def test_jobs_for_slurm_are_composed_as_documented():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    overrides = documented(r"^python -m dopd_lightning … -m (hydra/launcher=submitit_slurm (?:.*\\\n)*.*)")
    register_resolvers()
    with initialize_config_module("dopd_lightning.conf", version_base="1.3"):
        launcher = compose("config", overrides[:-2], return_hydra_config=True).hydra.launcher  # without the sweep
    assert launcher._target_.endswith(".SlurmLauncher")
    assert (launcher.partition, launcher.timeout_min, launcher.gpus_per_node, launcher.tasks_per_node) == (
        "gpu",
        600,
        8,
        8,
    )


def test_a_job_by_submitit_on_this_machine(small, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    assert "`hydra/launcher=submitit_local`" in PAGE
    command = [sys.executable, "-m", "dopd_lightning", "-m", "hydra/launcher=submitit_local", *small, "seed=3"]
    ended = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    (sweep,) = (tmp_path / "runs" / "dopd").iterdir()
    assert json.loads((sweep / "0" / "summary.json").read_text())["steps"] == 1
    assert (sweep / "0" / "student" / "model.safetensors").exists()
