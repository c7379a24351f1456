"""Groups, their ends, paired differences and curves, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from dopd_lightning.compare import Comparison
from dopd_lightning.compare.curves import MOST_POINTS, curve_of
from dopd_lightning.errors import ConfigError


def run_of(make_run, lr, seed, accuracy, name=None, **more):
    summary = {"accuracy": {"student_after": accuracy}, "steps": 2}
    return make_run(name or f"{lr}_{seed}", seed=seed, summary=summary, optimizer={"lr": lr}, **more)


@pytest.fixture
def comparison(make_run, tmp_path):
    """Two groups: seeds 0, 1, 2 with 0.5, 0.6, 0.7, and seeds 1, 2, 3 with 0.7, 0.9, 0.2."""
    for seed, accuracy in ((0, 0.5), (1, 0.6), (2, 0.7)):
        run_of(make_run, 0.1, seed, accuracy, logged={"train/loss": [(0, seed), (1, 2 * seed)]})
    for seed, accuracy in ((1, 0.7), (2, 0.9), (3, 0.2)):
        run_of(make_run, 0.2, seed, accuracy, logged={"train/loss": [(0, 1), (1, 5)]})
    return Comparison.of([str(tmp_path)])


def test_runs_that_are_equal_but_for_the_seed_are_a_group(comparison):
    assert [group.label for group in comparison.groups] == ["lr=0.1", "lr=0.2"]
    assert [[*group.replicates] for group in comparison.groups] == [[0, 1, 2], [1, 2, 3]]
    assert comparison.notes == []


def test_ends_are_over_all_seeds_of_a_group(comparison):
    """0.5, 0.6, 0.7: mean 0.6, s² = 0.02 / 2 = 0.01, s / √3 = 0.057735."""
    end = comparison.end(0, "accuracy.student_after")
    assert (end.mean, end.error, end.n) == (pytest.approx(0.6), pytest.approx(0.0577350), 3)
    assert comparison.end(0, "train/loss").mean == 2, "the last logged values: 0, 2, 4"


def test_differences_are_between_runs_of_the_same_seed(comparison):
    """Seeds 1 and 2: 0.1 and 0.2; mean 0.15, s² = 0.005, s / √2 = 0.05. The means differ by nothing: 0.6 and 0.6."""
    assert comparison.end(1, "accuracy.student_after").mean == pytest.approx(0.6)
    difference = comparison.difference(1, "accuracy.student_after")
    assert (difference.mean, difference.error, difference.n) == (pytest.approx(0.15), pytest.approx(0.05), 2)


def test_without_a_common_seed_there_is_no_difference(make_run, tmp_path):
    run_of(make_run, 0.1, 0, 0.5)
    run_of(make_run, 0.2, 1, 0.5)
    assert Comparison.of([str(tmp_path)]).difference(1, "accuracy.student_after") is None


def test_an_unfinished_run_is_in_the_curves_and_not_among_the_ends(make_run, tmp_path):
    run_of(make_run, 0.1, 0, 0.5, logged={"train/loss": [(0, 1.0), (1, 1.0)]})
    make_run("killed", seed=1, logged={"train/loss": [(0, 3.0)]}, optimizer={"lr": 0.1})
    comparison = Comparison.of([str(tmp_path)])
    assert comparison.end(0, "train/loss").n == 1
    (curve,) = comparison.curves
    assert [(point.step, point.value.mean, point.value.n) for point in curve.points[0]] == [(0, 2.0, 2), (1, 1.0, 1)]
    assert comparison.notes == [f"{tmp_path}/runs/killed: has not finished (no summary.json)"]


def test_a_run_that_went_on_in_another_folder_is_one_run(make_run, tmp_path):
    """The killed one reached step 1, the other began at 1 and finished, though its folder comes first."""
    last = run_of(make_run, 0.1, 0, 0.5, name="a", logged={"train/loss": [(1, 8.0), (2, 9.0)]})
    first = make_run("b", logged={"train/loss": [(0, 3.0), (1, 4.0)]}, optimizer={"lr": 0.1})
    comparison = Comparison.of([str(tmp_path)])
    (curve,) = comparison.curves
    assert [(point.step, point.value.mean) for point in curve.points[0]] == [(0, 3.0), (1, 8.0), (2, 9.0)]
    assert comparison.end(0, "train/loss").n == 1
    assert comparison.notes[-1] == f"{first}, {last}: one run in parts (all runs, seed 0), which ended as the last did"


def test_labels_leave_out_what_a_run_does_not_have_and_what_goes_with_another_choice(make_run, tmp_path):
    dopd = {"_target_": "dopd_lightning.fusion.DOPD", "beta_weak": 0.3, "top_k": 128}
    make_run("0", fusion=dopd)
    make_run("1", fusion=dopd | {"beta_weak": 0.1})
    make_run("2", fusion={"_target_": "dopd_lightning.fusion.Teacher", "top_k": 64})
    groups = Comparison.of([str(tmp_path)]).groups
    labels = ["fusion=DOPD, beta_weak=0.3", "fusion=DOPD, beta_weak=0.1", "fusion=Teacher"]
    assert [group.label for group in groups] == labels
    assert groups[2].settings == {"fusion": "Teacher", "beta_weak": "—", "top_k": "64"}


def test_labels_are_never_alike(make_run, tmp_path):
    make_run("0", x={"a": "1, b=2", "b": "3"})
    make_run("1", x={"a": "1", "b": "2, b=3"})
    labels = [group.label for group in Comparison.of([str(tmp_path)]).groups]
    assert labels == ["a=1, b=2, b=3 (1)", "a=1, b=2, b=3 (2)"]


def test_metrics_come_by_family_the_loss_first(make_run, tmp_path):
    logged = {name: [(0, 1), (1, 1)] for name in ("lr", "train/gap", "train/loss", "train/share/LH", "val/accuracy")}
    summary = {"accuracy": {"teacher": 1, "student_before": 0}, "steps": 1}
    make_run("a", summary=summary, logged=logged)
    comparison = Comparison.of([str(tmp_path)])
    assert comparison.ends == {
        "accuracy": ["accuracy.teacher", "accuracy.student_before"],
        "val": ["val/accuracy"],
        "train": ["train/loss", "train/gap"],
        "train/share": ["train/share/LH"],
        "": ["steps", "lr"],
    }
    assert [curve.metric for curve in comparison.curves] == [
        "val/accuracy", "train/loss", "train/gap", "train/share/LH", "lr"
    ]  # fmt: skip


def test_nothing_to_compare_says_why(make_run, tmp_path):
    make_run("a", stage="test")
    with pytest.raises(ConfigError, match=r"^runs: .* has no training run to compare; .*a: trained nothing \(stage=t"):
        Comparison.of([str(tmp_path)])


def test_long_curves_are_averaged_over_stretches_first_in_each_run():
    """401 steps make stretches of three. One run logs all of them, another every third."""
    every, third = {step: step for step in range(401)}, {step: 10 for step in range(0, 401, 3)}
    curve = curve_of("m", [[every, third], [third]])
    assert curve.stretch == math.ceil(401 / MOST_POINTS) == 3
    first, second = curve.points[0][:2]
    assert (first.step, first.value.mean, first.value.n) == (1, (1 + 10) / 2, 2)
    assert (second.step, second.value.mean) == (4, (4 + 10) / 2)
    assert [len(points) for points in curve.points] == [134, 134]


def test_short_curves_are_left_as_they_are():
    sparse = {step: 1.0 for step in range(0, 10_000, 100)}
    curve = curve_of("m", [[sparse], []])
    assert curve.stretch == 1
    assert [point.step for point in curve.points[0]] == [*sparse]
    assert curve.points[1] == []
