"""Lists in the documentation agree with the code."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

from dopd_lightning.cli.stages import run_stage
from dopd_lightning.maps import render_page

ROOT = Path(__file__).parents[1]


def documented_metrics():
    """Names in the table of docs/watching.md; one without a slash stands for the last part of the one before."""
    text = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8").split("## What is logged")[1].split("\n## ")[0]
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
