"""The study's configurations compose onto the package's, and their objects are made."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf, open_dict

from dopd_lightning.cli.build import build
from dopd_lightning.cli.group_choices import check_choices
from dopd_lightning.cli.instantiate import check_complete
from dopd_lightning.errors import ConfigError
from study.plan import CONF, MODELS, composed

FILES = [path.relative_to(CONF).with_suffix("").as_posix() for path in sorted(CONF.rglob("*.yaml"))]
EXPERIMENTS = [file.rpartition("/")[2] for file in FILES if file.startswith("experiment/")]
PACKAGES = Path(__file__).parents[2] / "conf"
TASKS = ("basic_arithmetic", "chain_sum", "gcd")
BUILT = ("models", "search_validation", "table1", "teacher")
"""One experiment of each shape: others differ in numbers, and in parts that have choices of their own."""


def needs(name, models):
    """Overrides without the study's trained models, and with few examples."""
    sizes = [f"data.{part}.{task}.size=4" for part in ("train", "val") for task in TASKS]
    if name in ("teacher", "teacher_small", "student", "student_small"):
        return [*sizes, "data.batch_size=2"]
    if name == "student_steps":
        fewer = [size for size in sizes if "gcd" not in size]
        return [*fewer, "data.batch_size=2", f"student.tokenizer={models}/student"]
    small = ["data.train.size=8", "data.val.size=2", "data.test.size=2", "data.batch_size=2"]
    evaluates = re.match(r"models|transfer|.*_validation", name)
    return [*small, f"student.name={models}/student", *([] if evaluates else [f"teacher.name={models}/teacher"])]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_composes_and_its_objects_are_made(name, models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"paths.output_dir={tmp_path}/run", "trainer.accelerator=cpu", "trainer.val_check_interval=null"]
    config = composed(name, [*words, *needs(name, models)])
    with open_dict(config):
        config.pop("hydra")
    check_complete(config)
    OmegaConf.resolve(config.copy())
    if name in BUILT:
        assert build(config).data.sets[{"fit": "train", "validate": "val", "test": "test"}[config.stage]]


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("experiment/")])
def test_a_choice_takes_the_place_of_the_packages_own(file):
    group, _, name = file.partition("/")
    config = composed("table1", [f"{group}={name}"])
    assert config.hydra.runtime.choices[group] == name


def test_none_of_them_has_the_name_of_one_of_the_packages():
    assert not [file for file in FILES if (PACKAGES / f"{file}.yaml").exists()]


@pytest.mark.parametrize("file", FILES)
def test_without_the_folder_its_place_is_named(file):
    group, _, name = file.partition("/")
    with pytest.raises(ConfigError, match="add --config-dir study/conf"):
        check_choices([f"{group}={name}"])
    check_choices(["--config-dir", str(CONF), f"{group}={name}"])


def test_the_packages_own_choices_are_not_taken_for_the_study_s():
    for path in PACKAGES.rglob("*/*.yaml"):
        group, _, name = path.relative_to(PACKAGES).with_suffix("").as_posix().partition("/")
        check_choices([f"{group}={name}"])
    check_choices(["fusion=glob(*)", "logger=[csv,none]", "name=study/mine", "student.name=study/student"])


def test_they_are_found_by_their_folder():
    """``python -m dopd_lightning --config-dir study/conf``, as docs/configuration.md has it."""
    words = ["--config-dir", str(CONF), f"+experiment=study/{MODELS[0]}", "--cfg", "job", "--package", "name"]
    shown = subprocess.run(
        [sys.executable, "-m", "dopd_lightning", *words], capture_output=True, text=True, check=True, timeout=120
    )
    assert shown.stdout.strip().endswith("study/models/teacher")
