"""``metrics.csv``, which only grows."""

from __future__ import annotations

import csv

import pytest

from dopd_lightning.loggers import CSVLogger, continue_loggers


@pytest.fixture
def logger(tmp_path):
    """Make the logger of another attempt in one folder."""
    return lambda: CSVLogger(tmp_path, name="", version="csv")


def rows_of(folder):
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def log(logger, *rows):
    for step, metrics in enumerate(rows):
        logger.log_metrics(metrics, step)
        logger.save()


def test_columns_may_come_later_in_each_attempt(logger, tmp_path):
    log(logger(), {"a": 1.0}, {"b": 2.0})
    log(logger(), {"c": 3.0}, {"a": 4.0})
    assert rows_of(tmp_path) == [
        {"step": "0", "a": "1.0"},
        {"step": "1", "b": "2.0"},
        {"step": "0", "c": "3.0"},
        {"step": "1", "a": "4.0"},
    ]


def test_half_a_line_of_a_killed_process_is_dropped(logger, tmp_path):
    log(logger(), {"a": 1.0}, {"a": 2.0})
    path = tmp_path / "csv" / "metrics.csv"
    path.write_text(path.read_text() + "3.0")
    log(logger(), {"a": 4.0})
    assert [row["a"] for row in rows_of(tmp_path)] == ["1.0", "2.0", "4.0"]


def test_a_row_that_is_given_twice_is_there_once(logger, tmp_path):
    once = logger()
    for _ in range(2):
        once.log_metrics({"a": float("nan")}, 0)
    once.save()
    assert rows_of(tmp_path) == [{"step": "0", "a": "nan"}]


def test_a_run_that_begins_anew_drops_the_steps_that_it_takes_again(logger, tmp_path):
    log(logger(), {"a": 1.0}, {"a": 2.0})
    again = logger()
    continue_loggers([again], None)
    log(again, {"a": 3.0})
    assert rows_of(tmp_path) == [{"step": "0", "a": "3.0"}]


def test_earlier_steps_that_are_nowhere_are_said(logger):
    state = {"kind": "CSVLogger", "file": "gone/metrics.csv"}
    with pytest.warns(UserWarning, match="begins at step 3: gone/metrics.csv, with the steps before, does not exist"):
        continue_loggers([logger()], {"global_step": 3, "logs": [state]})
