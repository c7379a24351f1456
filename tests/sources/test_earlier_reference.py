"""Kinds of a reference by one name, as earlier versions had them."""

from __future__ import annotations

import pytest

from dopd_lightning.errors import ConfigError
from dopd_lightning.sources import Ema, Policy, Snapshot, Student, reference_of_kind


def test_each_kind_is_a_source(make_policy):
    kinds = {kind: type(reference_of_kind(kind)) for kind in ("student", "snapshot", "ema")}
    assert kinds == {"student": Student, "snapshot": Snapshot, "ema": Ema}
    assert reference_of_kind("ema", decay=0.5).decay == 0.5
    model = make_policy()
    assert isinstance(reference_of_kind("model", model), Policy)
    assert reference_of_kind("model", model).weights is model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "teacher"}, "reference.kind: 'teacher' is not one of ema, model, snapshot, student"),
        ({"kind": "ema", "decay": 1.5}, "reference.decay: 1.5"),
        ({"kind": "model"}, "reference.kind=model: no model was given"),
    ],
)
def test_settings_that_cannot_work(options, message):
    with pytest.raises(ConfigError, match=message):
        reference_of_kind(**options)


def test_a_model_for_a_kind_that_makes_its_own(make_policy):
    with pytest.raises(ConfigError, match=r"reference\.kind=snapshot: a model was given"):
        reference_of_kind("snapshot", make_policy())
