"""Log-probabilities with a floor, entropies, shape checks."""

from __future__ import annotations

import math

import pytest
import torch

from dopd_lightning.scores.distribution import LOG_PROB_FLOOR, at_ids, check_same_shape, entropy, log_probs


def test_log_probs_are_floored_and_at_least_float32():
    result = log_probs(torch.tensor([0.0, 0.0, -torch.inf], dtype=torch.bfloat16))
    assert result.dtype == torch.float32
    assert result.tolist() == pytest.approx([-math.log(2), -math.log(2), LOG_PROB_FLOOR])


def test_entropy_in_nats():
    uniform_over_four = log_probs(torch.zeros(4))
    certain = log_probs(torch.tensor([0.0, -torch.inf, -torch.inf]))
    assert entropy(uniform_over_four).item() == pytest.approx(math.log(4))
    assert entropy(certain).item() == 0


def test_at_ids():
    assert at_ids(torch.arange(6.0).reshape(2, 3), torch.tensor([2, 0])).tolist() == [2.0, 3.0]


def test_shapes_are_named():
    check_same_shape("here", a=torch.zeros(2), b=None, c=torch.ones(2))
    with pytest.raises(ValueError, match=r"here: .* a \(2,\), c \(3,\)"):
        check_same_shape("here", a=torch.zeros(2), b=None, c=torch.ones(3))
