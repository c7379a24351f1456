"""Contents read from a run's folder, and errors for one that is incomplete or broken."""

from __future__ import annotations

import pytest

from dopd_lightning.compare.runs import read_runs

SUMMARY = {"accuracy": {"student_after": 0.75}, "steps": 2, "regimes": {}, "comment": "no number", "whole": True}
LOGGED = {"train/loss": [(0, 3.0), (1, 2.5)], "val/accuracy": [(1, 0.5)]}


def test_numbers_of_the_summary_by_dotted_names_and_metrics_by_step(make_run):
    (run,), notes = read_runs([make_run("a", seed=3, summary=SUMMARY, logged=LOGGED, optimizer={"lr": 1e-5})])
    assert notes == []
    assert (run.seed, run.config["optimizer"]) == (3, {"lr": 1e-5})
    assert run.summary == {"accuracy.student_after": 0.75, "steps": 2}
    assert run.logged == {"train/loss": {0: 3.0, 1: 2.5}, "val/accuracy": {1: 0.5}}
    assert run.last_step == 1


def test_the_last_entry_of_a_step_counts_and_a_later_beginning_is_kept(make_run):
    (run,), _ = read_runs([make_run("a", summary=SUMMARY, logged={"train/loss": [(40, 1.0), (40, 2.0), (41, 3.0)]})])
    assert run.logged == {"train/loss": {40: 2.0, 41: 3.0}}


def test_a_run_that_has_not_finished_or_has_no_curves_stays_and_is_noted(make_run):
    folders = [make_run("a", logged=LOGGED), make_run("b", summary=SUMMARY)]
    runs, notes = read_runs(folders)
    assert [run.summary is None for run in runs] == [True, False]
    assert (runs[1].logged, runs[1].last_step) == ({}, -1)
    assert notes == [
        f"{folders[0]}: has not finished (no summary.json)",
        f"{folders[1]}: has no curves (no csv/metrics.csv; logger=csv writes it)",
    ]


@pytest.mark.parametrize(
    ("file", "content", "note"),
    [
        ("summary.json", "{", "is no JSON ("),
        ("summary.json", "[1]", "is no JSON object; taken as not finished"),
        ("summary.json", b"\xff", "cannot be read ("),
        ("csv/metrics.csv", "epoch,train/loss\n0,1\n", "line 2 is no row of metrics ('step')"),
        ("csv/metrics.csv", "step,train/loss\n0,1\n1,abc\n", "line 3 is no row of metrics (could not convert string"),
        ("csv/metrics.csv", "step,train/loss\n0,1\n1,2,3\n", "line 3 is no row of metrics ("),
        ("csv/metrics.csv", "step,train/loss\n0,1\n,2\n", "line 3 is no row of metrics ("),
    ],
)
def test_a_broken_file_is_named_and_the_rest_of_the_run_is_kept(make_run, file, content, note):
    folder = make_run("a", summary=SUMMARY, logged=LOGGED)
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    (run,), (said,) = read_runs([folder])
    assert said.startswith(f"{folder / file}: {note}")
    assert (run.summary is None, run.logged == {}) == (file == "summary.json", file != "summary.json")


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("a: [", "is no configuration (while parsing"),
        ("- 1", "is no run's configuration (it has no seed and stage)"),
        ("model: bert", "is no run's configuration (it has no seed and stage)"),
        ("{seed: 0.5, stage: fit}", "is no run's configuration (it has no seed and stage)"),
        ("!!python/object/apply:os.system [exit]", "is no configuration (could not determine a constructor"),
    ],
)
def test_without_a_configuration_a_run_is_left_out_and_named(make_run, content, note):
    folder = make_run("a", summary=SUMMARY)
    (folder / "config.yaml").write_text(content)
    runs, (said,) = read_runs([folder])
    assert runs == []
    assert said.startswith(f"{folder / 'config.yaml'}: {note}")
    assert said.endswith(": left out")


def test_other_stages_are_left_out_and_noted_but_comparisons_are_not_worth_a_note(make_run):
    folders = [make_run("a", stage="export"), make_run("b/.hydra", stage="fit").parent]
    folders += [make_run("c/.hydra", stage="compare").parent]
    runs, notes = read_runs(folders)
    assert runs == []
    assert notes == [
        f"{folders[0]}: trained nothing (stage=export): left out",
        f"{folders[1]}: its run ended before it began (no config.yaml): left out",
    ]
