"""The largest share of tokens."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.fusion.ranking import largest


def test_of_equal_values_the_earlier():
    assert largest(torch.tensor([1.0, 3.0, 2.0, 3.0]), 0.5).tolist() == [False, True, False, True]
    assert largest(torch.tensor([2.0, 2.0, 2.0]), 0.4).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("share", "n", "count"),
    [
        (0.05, 19, 0),
        (0.05, 20, 1),
        (0.05, 39, 1),
        (0.29, 100, 29),
        (0.1, 30, 3),
        (1 - 0.9, 10, 1),
        (1.0, 3, 3),
        (0.5, 0, 0),
    ],
)
def test_the_count_is_rounded_down_but_not_by_float_error(share, n, count):
    assert largest(torch.arange(float(n)), share).sum() == count
