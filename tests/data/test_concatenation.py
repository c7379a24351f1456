from __future__ import annotations

import pytest

from dopd_lightning.data import Concatenation, ReasoningGymDataset
from dopd_lightning.errors import ConfigError


def test_one_dataset_after_the_other():
    both = Concatenation(first=[{"prompt": "a"}], second=[{"prompt": "b"}, {"prompt": "c"}])
    assert [both[n]["prompt"] for n in range(len(both))] == ["a", "b", "c"]
    assert not both.generated


def test_a_set_can_be_left_out():
    assert len(Concatenation(first=[{"prompt": "a"}], second=None)) == 1


def test_it_is_generated_if_one_of_its_sets_is():
    assert Concatenation(first=[{"prompt": "a"}], second=ReasoningGymDataset("gcd", 3, hint="none")).generated


@pytest.mark.parametrize(("sets", "given"), [({}, "nothing"), ({"first": None}, "first")])
def test_there_has_to_be_one(sets, given):
    with pytest.raises(ConfigError, match=rf"sets: no dataset to read \(given: {given}\)"):
        Concatenation(**sets)
