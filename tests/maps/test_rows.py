from __future__ import annotations

import pytest

from dopd_lightning.maps import COLUMNS, rows


def test_a_row_a_token_with_all_that_is_known(plain_snapshot, plain_response):
    found = [dict(zip(COLUMNS, row, strict=True)) for row in rows(plain_snapshot(plain_response(3), step=7))]
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
    (row,) = (dict(zip(COLUMNS, row, strict=True)) for row in rows(plain_snapshot(response)))
    assert (row["set"], row["regime"], row["gap"], row["student_would_say"]) == ("fresh", None, None, None)
