from __future__ import annotations

import pytest

from dopd_lightning.maps import Snapshot, averages


def test_means_are_over_the_tokens_of_fixed_prompts_alone(plain_snapshot, plain_response):
    # Gaps are 0.5, 1.5, 2.5 and 0.5: a long response counts for more than a short one.
    found = averages(plain_snapshot(plain_response(3), plain_response(1, number=1), plain_response(5, fixed=False)))
    assert found["map/gap"] == pytest.approx(5 / 4)
    assert found["map/entropy/student"] == pytest.approx(8 * 5 / 4)  # the eighth quantity
    assert found["map/response/length"] == 2
    shares = {name: found[f"map/share/{name}"] for name in ("LH", "LL", "HT", "HS")}
    assert shares == {"LH": 0.5, "LL": 0, "HT": 0.25, "HS": 0.25}


def test_what_a_rule_does_not_need_is_left_out(plain_snapshot, plain_response):
    found = averages(plain_snapshot(plain_response(2, regimes=[-1, -1], names=("loss", "student_entropy"))))
    assert set(found) == {"map/token_loss", "map/entropy/student", "map/response/length"}


def test_of_no_token_there_is_no_mean(plain_snapshot, plain_response):
    for snapshot in (
        Snapshot(0, [], {}),
        plain_snapshot(plain_response(0)),
        plain_snapshot(plain_response(2, fixed=False)),
    ):
        assert averages(snapshot) == {}


def test_every_source_has_its_means_under_its_name(make_snapshot):
    snapshot = make_snapshot(["a", "b"], sources=("maths", "teacher", "code"))
    found = averages(snapshot)
    quantities = snapshot.responses[0].quantities
    for source in snapshot.sources:
        for kind in ("divergence", "entropy"):
            assert found[f"map/{kind}/{source}"] == pytest.approx(quantities[f"{source}_{kind}"].mean())
    assert "map/entropy/reference" not in found
