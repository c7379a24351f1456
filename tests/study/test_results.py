"""study/results/ is written from the runs that are there, and says how many are missing."""

from __future__ import annotations

import csv
import json

import pytest
from omegaconf import OmegaConf
from PIL import Image, ImageColor, ImageDraw
from rich.console import Console

from dopd_lightning.compare.figures import LIGHT
from study.plan import DONE, jobs_of
from study.results import fewer_colours, write_results


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Write what a job's run would have left in its folder."""
    monkeypatch.chdir(tmp_path)

    def write(job, *, accuracy, stage="fit", seconds=90.0):
        settings = dict(each.split("=", 1) for each in job.overrides)
        config = {"stage": stage, "seed": int(settings.get("seed", 0)), "method": settings.get("method")}
        (job.folder / "csv").mkdir(parents=True)
        (job.folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
        (job.folder / DONE).write_text(json.dumps({"seconds": seconds}))
        metric = "val/accuracy" if stage == "fit" else "test/accuracy"
        (job.folder / "csv/metrics.csv").write_text(f"epoch,step,{metric}\n0,9,{accuracy / 2}\n0,19,{accuracy}\n")
        if stage == "fit":
            (job.folder / "summary.json").write_text(json.dumps({"accuracy": {"student_after": accuracy}}))
        else:
            (job.folder / "csv/metrics.csv").write_text(f"epoch,step,{metric}\n0,0,{accuracy}\n")

    return write


def test_a_sweep_that_trains_is_compared(ran, tmp_path):
    for job in jobs_of("table1")[:10]:
        ran(job, accuracy=0.5 if "method=dopd" in job.overrides else 0.25)
    write_results(["table1"], tmp_path / "docs", Console())
    text = (tmp_path / "docs/table1.md").read_text()
    assert text.startswith("# table1\n\nTable 1: every method")
    assert "`python -m study table1`: 10 of 60 runs, 15 minutes of one core." in text
    assert "method=dopd" in text
    assert "![val/accuracy](table1.png)" in text
    assert (tmp_path / "docs/table1.png").stat().st_size > 1000
    with (tmp_path / "docs/table1.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "accuracy.student_after"]
    assert [(row["group"], row["n"], row["mean"]) for row in rows] == [
        ("method=dopd", "5", "0.5"),
        ("method=opd", "5", "0.25"),
    ]


def test_a_sweep_that_tests_is_a_list(ran, tmp_path):
    for job in jobs_of("models")[:2]:
        ran(job, accuracy=0.75, stage="test")
    write_results(["models"], tmp_path / "docs", Console())
    assert (tmp_path / "docs/models.csv").read_text() == (
        "model,data.train.hint,accuracy\nteacher,none,0.75\nteacher,summary,0.75\n"
    )
    assert "| teacher | none | 1 | 0.75 |" in (tmp_path / "docs/models.md").read_text()


def test_a_list_has_one_line_for_all_seeds(ran, tmp_path):
    for job, accuracy in zip(jobs_of("transfer"), (0.25, 0.35, 0.3), strict=False):
        ran(job, accuracy=accuracy, stage="test")
    write_results(["transfer"], tmp_path / "docs", Console())
    text = (tmp_path / "docs/transfer.md").read_text()
    assert "| after | trained_by | data | n | accuracy |\n| --- | --- | --- | --- | --- |" in text
    assert "| table1 | static | study/basic_arithmetic | 3 | 0.300 ± 0.029 |" in text
    assert (tmp_path / "docs/transfer.csv").read_text().splitlines()[1:] == [
        "table1,static,study/basic_arithmetic,0,0.25",
        "table1,static,study/basic_arithmetic,1,0.35",
        "table1,static,study/basic_arithmetic,2,0.3",
    ]


def test_what_has_not_been_run_is_left_out(ran, tmp_path):
    write_results(["table1", "teacher"], tmp_path / "docs", Console())
    assert list((tmp_path / "docs").iterdir()) == []


def test_what_is_compared_with_a_sweep_may_be_missing(ran, tmp_path, capsys):
    ran(jobs_of("table8")[0], accuracy=0.5)
    write_results(["table8"], tmp_path / "docs", Console())
    said = " ".join(capsys.readouterr().out.split())
    assert "table8: runs: 'runs/study/table1/method=dopd,*' leads to no run" in said


def test_a_small_palette_keeps_the_colours_of_all_curves():
    drawn = Image.new("RGB", (200, 256), "white")
    pen = ImageDraw.Draw(drawn)
    for row in range(256):  # bands around curves, in many shades
        pen.line([(0, row), (199, row)], (row, 255 - row // 4, 200))
    curves = [ImageColor.getrgb(colour) for colour in LIGHT]
    for place, colour in enumerate(curves):
        pen.line([(0, 20 * place), (20, 20 * place)], colour)
    kept = [few for _, few in fewer_colours(drawn).convert("RGB").getcolors()]
    for colour in curves:
        assert min(max(abs(a - b) for a, b in zip(colour, each, strict=True)) for each in kept) <= 8
