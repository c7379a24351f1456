"""``stage=compare`` on runs of the tiny models, and what it says if there is nothing to compare."""

from __future__ import annotations

import csv
import json
import sys

import pytest

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from dopd_lightning.cli import compare as comparing
from dopd_lightning.cli.stages import run_stage
from dopd_lightning.errors import ConfigError


def test_two_rules_with_two_seeds_side_by_side(configured, tmp_path, capsys):
    for rule in ("dopd", "teacher"):
        for seed in (0, 1):
            folder = tmp_path / "runs" / "sweep" / f"{rule}{seed}"
            sets = ("train", "val", "test")
            run_stage(configured(f"fusion={rule}", f"seed={seed}", f"paths.output_dir={folder}", sets=sets))
            (folder / "divergence_map.html").touch()
    capsys.readouterr()

    assert run_stage(configured("stage=compare", "runs=runs/*", bare=True)) is None

    out = tmp_path / "run"
    assert {"compare.md", "compare.csv", "compare.html", "figures"} <= {path.name for path in out.iterdir()}
    assert {"train-loss.png", "train-gap.png"} <= {path.name for path in (out / "figures").iterdir()}
    with (out / "compare.csv").open() as file:
        rows = {(row["group"], row["metric"]): row for row in csv.DictReader(file)}
    summaries = {
        (rule, seed): json.loads((tmp_path / "runs" / "sweep" / f"{rule}{seed}" / "summary.json").read_text())
        for rule in ("dopd", "teacher")
        for seed in (0, 1)
    }
    assert {group for group, _ in rows} == {"fusion=DOPD", "fusion=Teacher"}
    seconds = [[summaries[rule, seed]["seconds"] for seed in (0, 1)] for rule in ("dopd", "teacher")]
    row = rows["fusion=Teacher", "seconds"]
    assert (row["n"], row["pairs"]) == ("2", "2")
    assert float(row["mean"]) == pytest.approx(sum(seconds[1]) / 2)
    assert float(row["difference"]) == pytest.approx((sum(seconds[1]) - sum(seconds[0])) / 2)
    assert {"train/loss", "accuracy.student_after", "regimes.LH"} <= {metric for _, metric in rows}
    page = (out / "compare.html").read_text()
    assert page.count('href="../runs/sweep/') == 4
    printed = capsys.readouterr().out
    assert "fusion=Teacher" in printed
    assert "note:" not in printed


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (
            "null",
            "runs: None is not a folder of runs, and stage=compare needs one, a glob or a list",
        ),
        ("3", "runs: 3 is not a folder"),
        ("[]", "runs: [] is not a folder"),
        ("[a,null]", "runs: ['a', None] is not a folder"),
        ("nowhere", "runs: 'nowhere' leads to no run: there is no config.yaml in it or below; give a run's folder"),
    ],
)
def test_where_there_is_nothing_to_compare(configured, runs, message):
    with pytest.raises(ConfigError) as error:
        run_stage(configured("stage=compare", f"runs={runs}", bare=True))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("package", ["altair", "vl_convert"])
def test_what_draws_is_asked_for_before_anything_is_read(configured, monkeypatch, package):
    found = comparing.find_spec
    monkeypatch.setattr(comparing, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(ConfigError, match=r"^stage: compare draws with .* pip install '\.\[compare\]' .*"):
        run_stage(configured("stage=compare", "runs=nowhere", bare=True))


def test_tables_need_nothing_that_draws(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("dopd_lightning.compare")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("altair", "vl_convert", "jinja2"):
        monkeypatch.setitem(sys.modules, name, None)
    from dopd_lightning.compare import to_markdown

    assert to_markdown
