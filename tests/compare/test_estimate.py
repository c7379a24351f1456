"""Means and standard errors, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from dopd_lightning.compare.estimate import Estimate


def test_the_standard_error_of_a_mean():
    """1, 2, 6: mean 3; deviations −2, −1, 3; their squares sum to 14; 14 / 2 = 7; √(7 / 3) = 1.5275."""
    estimate = Estimate.of([1, 2, 6])
    assert (estimate.mean, estimate.n) == (3, 3)
    assert estimate.error == pytest.approx(1.527525, abs=1e-6)


def test_one_value_has_no_error_and_none_are_nothing():
    assert Estimate.of([0.25]) == Estimate(0.25, None, 1)
    assert Estimate.of([]) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_not_left_out(value):
    estimate = Estimate.of([1.0, value])
    assert not math.isfinite(estimate.mean)
    assert math.isnan(estimate.error)
    assert Estimate.of([value]).error is None
    assert "±" in str(estimate)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.78914, 0.0061, 3), "0.7891 ± 0.0061"),
        (Estimate(-0.789, 0.1, 3), "−0.79 ± 0.10"),
        (Estimate(1234.5, 67.8, 3), "1234 ± 68"),
        (Estimate(0.123456, None, 1), "0.1235"),
        (Estimate(123456.0, None, 1), "123456"),
        (Estimate(200.0, 0.0, 3), "200 ± 0"),
        (Estimate(0.00001234, 0.000001, 2), "0.0000123 ± 0.0000010"),
        (Estimate(math.nan, math.nan, 2), "nan ± nan"),
    ],
)
def test_it_is_written_to_two_digits_of_the_error(estimate, text):
    assert str(estimate) == text
