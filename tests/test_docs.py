"""Lists in the documentation agree with the code."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

from hydra.utils import get_object
from omegaconf import OmegaConf
from PIL import Image

from dopd_lightning.cli.stages import run_stage
from dopd_lightning.maps import render_page

ROOT = Path(__file__).parents[1]


def documented_metrics():
    """Names in the table of docs/watching.md; one without a slash stands for the last part of the one before."""
    text = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8").split("## Logged metrics")[1].split("\n## ")[0]
    names = []
    for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE):
        for name in re.findall(r"`(.+?)`", row):
            names.append(name if "/" in name else f"{names[-1].rpartition('/')[0]}/{name}")
    return set(names)


def test_every_metric_that_a_run_logs_is_listed_and_every_one_listed_is_logged(configured, tmp_path):
    overrides = ["trainer.max_steps=2", "data.batch_size=4", "rollout.max_new_tokens=16", "logger=csv"]
    run_stage(configured(*overrides, "data.test=null", sets=("train", "val")))
    rows = csv.DictReader((tmp_path / "run" / "csv" / "metrics.csv").read_text().splitlines())
    logged = {name for row in rows for name, value in row.items() if value} - {"step", "epoch"}
    documented = documented_metrics()
    assert logged <= documented, "logged, but not listed"
    documented = {name for name in documented if not name.startswith("train/reward")}  # tests/training/test_rewards.py
    of_regimes_that_may_have_no_token = {f"train/{what}/{name}" for what in ("loss", "gap") for name in ("LL", "HS")}
    assert documented - logged <= of_regimes_that_may_have_no_token | {"test/accuracy"}, "listed, but not logged"


def test_the_readmes_picture_is_taken_by_its_script(browser, tmp_path):
    page, picture = tmp_path / "map.html", tmp_path / "map.png"
    page.write_text(render_page([], title="Map"), encoding="utf-8")
    command = [sys.executable, ROOT / "docs" / "screenshot.py", page, picture, "--size", "400", "300"]
    subprocess.run(command, check=True, timeout=120)
    with Image.open(picture) as taken:
        assert taken.size == (400, 300)


def test_every_picture_that_the_documentation_shows_is_there():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"!\[.*?\]\((?!http)(.+?)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).is_file(), (document.name, target)


def test_the_readmes_table_of_rules_is_that_of_the_code():
    """Each choice of ``fusion=`` has a row, with the arXiv numbers of the rule's docstring before its attributes."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## Fusion rules")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE))
    files = {path.stem: path for path in (ROOT / "conf" / "fusion").glob("*.yaml") if path.stem != "paper"}
    assert rows.keys() == files.keys()
    for name, path in files.items():
        rule = get_object(OmegaConf.load(path)["_target_"])
        about = rule.__doc__.split("Attributes:")[0]
        papers = {*re.findall(r"\d{4}\.\d{5}", about)} - {"2606.30626"}  # the method's own
        assert {*re.findall(r"\d{4}\.\d{5}", rows[name])} == papers, name


def test_there_is_one_table_of_rules():
    for page in (ROOT / "docs").glob("*.md"):
        assert "| `entropy_aware` |" not in page.read_text(encoding="utf-8"), page.name


def test_every_file_that_the_map_of_the_code_names_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Rooms")[0]
    named = [name for name in re.findall(r"`([\w/.]+)`", text) if "/" in name or name.endswith(".py")]
    assert len(named) > 20
    for name in named:
        beside = [ROOT / name, ROOT / "dopd_lightning" / name]
        assert any(path.exists() for path in beside) or any(ROOT.glob(f"dopd_lightning/*/{name}")), name
