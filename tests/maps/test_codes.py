"""A code keeps what it promises, with all of its bits and with fewer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dopd_lightning.maps.codes import LARGEST, LAST, NOT_FINITE, SMALL, codes, digit

KNOWN = {6: ("coarse",), 8: ("coarse", "finer"), 16: ("coarse", "finer", "fine")}
SHIFT = {"coarse": 10, "finer": 8, "fine": 0}


def decoded(value, bits):
    """Decode by hand: put the digits together, take the middle of the unknown range, and undo the logarithm."""
    (code,) = codes(np.array([value], dtype=np.float32))
    (digits,) = [sum(int(digit(np.array([code]), name)[0]) << SHIFT[name] for name in KNOWN[bits])]
    middle = digits + 2 ** (15 - bits) if digits and bits < 16 else digits
    return 1e-4 * (math.exp(middle / 0xFBFF * math.log(1 + 2**14 / 1e-4)) - 1)


@given(st.floats(0, LARGEST, width=32))
@pytest.mark.parametrize(("bits", "within"), [(6, 0.163), (8, 0.04), (16, 0.00016)])
def test_a_number_comes_back_within_what_is_promised(bits, within, value):
    assert abs(decoded(value, bits) - value) <= within * (value + 3 * SMALL)


@pytest.mark.parametrize("bits", KNOWN)
def test_nothing_stays_nothing(bits):
    assert decoded(0.0, bits) == 0


def test_what_is_larger_than_the_largest_is_taken_for_it():
    assert codes(np.array([1e30], dtype=np.float32)) == LAST
    assert decoded(1e30, 16) == pytest.approx(LARGEST)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_is_apart_from_all_numbers_in_the_first_bits(value):
    (code,) = codes(np.array([value], dtype=np.float32))
    assert code == NOT_FINITE
    assert digit(np.array([code]), "coarse") > digit(np.array([LAST], dtype=np.uint16), "coarse")


def test_a_larger_number_never_has_a_smaller_code():
    values = np.sort(np.random.default_rng(0).lognormal(0, 8, 10_000)).astype(np.float32)
    assert (np.diff(codes(values).astype(int)) >= 0).all()
