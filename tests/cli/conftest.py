"""Runs of the command line in this process, with tiny models in folders and a tiny file of data."""

from __future__ import annotations

import json

import pytest
from hydra import compose, initialize_config_module

from dopd_lightning.cli.resolvers import register_resolvers

QUIET = ["trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "data.batch_size=2", "rollout.max_new_tokens=4"]


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No network, nothing written but into the test's own folder."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb_home"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def models(tmp_path_factory, make_policy, tokenizer):
    """Folders of a student, a teacher and another model of their family, each with the tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    for seed, role in enumerate(("student", "teacher", "other")):
        make_policy(seed).save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    return folder


@pytest.fixture(scope="session")
def lines(tmp_path_factory):
    """A data file: four examples with everything."""
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    rows = [
        {"prompt": f"Add {n} 2.", "privileged": f"first {n}", "answer": str(n + 2), "completion": f"{n + 2}"}
        for n in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def configured(models, lines, tmp_path):
    """Compose a small run into ``tmp_path/run``; later overrides win."""

    def run(*overrides, data="train", base=None):
        register_resolvers()
        base = [
            f"paths.output_dir={tmp_path}/run",
            f"student.name={models}/student",
            f"teacher.name={models}/teacher",
            *(f"data.{name}.path={lines}" for name in data.split(",") if name),
            "fusion.top_k=8",
            *QUIET,
        ] if base is None else base
        with initialize_config_module("dopd_lightning.conf", version_base="1.3"):
            return compose("config", [*base, *overrides])

    return run
