from __future__ import annotations

import pytest

from dopd_lightning.maps import columns, rows

PAIR = ("teacher", "reference")


def test_a_row_a_token_with_all_that_is_known(plain_snapshot, plain_response):
    found = [dict(zip(columns(PAIR), row, strict=True)) for row in rows(plain_snapshot(plain_response(3), step=7))]
    assert [row["position"] for row in found] == [0, 1, 2]
    assert [row["token"] for row in found] == ["1", "␣+", r"\xf0\x9f"]
    assert [row["regime"] for row in found] == ["LH", "HT", "HS"]
    second = found[1]
    assert (second["step"], second["set"], second["prompt"], second["number"]) == (7, "fixed", "What is 1 + 2?", 0)
    assert second["gap"] == pytest.approx(1.5)  # the first of the quantities
    assert second["student_probability"] == pytest.approx(3)
    assert second["teacher_would_say"] == r"␣+ 0.750   \xf0\x9f 0.250"
    assert second["reference_would_say"] is None


def test_what_is_not_known_is_none(plain_snapshot, plain_response):
    response = plain_response(1, fixed=False, regimes=[-1], names=("loss",), alternatives={})
    (row,) = (dict(zip(columns(PAIR), row, strict=True)) for row in rows(plain_snapshot(response)))
    assert (row["set"], row["regime"], row["gap"], row["student_would_say"]) == ("fresh", None, None, None)


def test_a_table_has_the_columns_of_its_sources(make_snapshot):
    snapshot = make_snapshot(["a"], sources=("maths", "code", "teacher"))
    names = columns(snapshot.sources)
    (row,) = (dict(zip(names, row, strict=True)) for row in rows(snapshot))
    (response,) = snapshot.responses
    for policy in ("student", "maths", "code", "teacher"):
        assert row[f"{policy}_probability"] == pytest.approx(response.quantities[f"{policy}_probability"][0])
        assert row[f"{policy}_would_say"].startswith("a 0.")
    assert [name for name in names if name.endswith("_divergence")] == [
        "maths_divergence",
        "code_divergence",
        "teacher_divergence",
    ]


def test_the_columns_of_the_papers_pair_are_those_of_before():
    assert columns(PAIR) == [
        *("step", "set", "prompt", "number", "position", "token", "token_id", "regime", "gap"),
        *("student_probability", "teacher_probability", "reference_probability"),
        *("teacher_divergence", "reference_divergence", "loss"),
        *("student_entropy", "teacher_entropy", "reference_entropy"),
        *("student_would_say", "teacher_would_say", "reference_would_say"),
    ]


def test_in_a_table_with_other_snapshots_what_a_snapshot_has_no_source_for_is_none(make_snapshot):
    sources = ("teacher", "maths")
    (row,) = rows(make_snapshot(["a"], sources=("teacher",)), sources)
    found = dict(zip(columns(sources), row, strict=True))
    assert (found["maths_entropy"], found["maths_would_say"]) == (None, None)
    assert found["teacher_entropy"] is not None
