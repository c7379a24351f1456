from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from dopd_lightning.errors import ConfigError, check_choice, check_range, missing_extra


def test_a_choice_passes_or_the_choices_are_listed():
    assert check_choice("reduction", "token", ("rollout", "token")) == "token"
    with pytest.raises(ConfigError, match="reduction: 'sum' is not one of rollout, token"):
        check_choice("reduction", "sum", ("token", "rollout"))


@pytest.mark.parametrize(
    ("value", "bounds", "expected"),
    [
        (-1, {"at_least": 0}, "x: -1 must be at least 0"),
        (0, {"above": 0, "at_most": 1}, "x: 0 must be above 0 and at most 1"),
        (1.5, {"above": 0, "at_most": 1}, "x: 1.5 must be above 0 and at most 1"),
        (1, {"above": 0, "below": 1}, "x: 1 must be above 0 and below 1"),
        (float("nan"), {"at_least": 0}, "x: nan must be a finite number and at least 0"),
        (float("inf"), {"above": 0}, "x: inf must be a finite number and above 0"),
        ("1", {"above": 0}, "x: '1' must be a finite number and above 0"),
        (None, {"at_least": 1}, "x: None must be a finite number and at least 1"),
        (True, {"at_least": 0}, "x: True must be a finite number and at least 0"),
    ],
)
def test_a_number_out_of_range(value, bounds, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        check_range("x", value, **bounds)


def test_bounds_belong_to_the_range_unless_they_are_above_or_below():
    assert check_range("x", 0, at_least=0, at_most=0) == 0
    assert check_range("x", 10**400, at_least=0) == 10**400


def test_a_missing_extra_is_named_with_the_command_that_installs_it_from_a_checkout():
    error = missing_extra("student: adapters need peft", "lora", "or use student=pretrained")
    assert str(error) == (
        "student: adapters need peft, which is not installed; pip install '.[lora]' in a checkout of dopd-lightning "
        "installs it, or use student=pretrained"
    )


def test_every_extra_that_an_error_names_is_one_of_the_package():
    root = Path(__file__).parents[1]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    source = "".join(
        path.read_text() for room in ("dopd_lightning", "callbacks") for path in (root / room).rglob("*.py")
    )
    named = set(re.findall(r"missing_extra\([^)]*?, \"([a-z-]+)\"", source))
    assert len(named) >= 7
    assert named <= extras.keys()
    assert "dopd-lightning[" not in source, "no index has the package"
