"""Terms check themselves when they are made."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.divergence import Divergence, Pool, Term
from dopd_lightning.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "kl"}, "kind: 'kl' is not one of forward_kl, js, reverse_kl"),
        ({"support": "some"}, "support"),
        ({"top_k_of": "teacher"}, "top_k_of"),
        ({"tail": "zero"}, "tail"),
        ({"top_k": 0}, "top_k: 0 must be at least 1"),
        ({"beta": 0.0}, "beta: 0.0"),
        ({"beta": 1.0}, "beta: 1.0 must be above 0 and below 1"),
    ],
)
def test_a_divergence_names_the_wrong_field(options, message):
    with pytest.raises(ConfigError, match=message):
        Divergence(**options)


def test_a_linear_pool_interpolates_and_a_geometric_one_may_extrapolate():
    Pool(0.0), Pool(1.0), Pool(1.5, geometric=True), Pool(torch.ones(2, 3))
    with pytest.raises(ConfigError, match="teacher_weight"):
        Pool(1.5)
    with pytest.raises(ConfigError, match="teacher_weight"):
        Pool(-0.1, geometric=True)


def test_the_target_is_checked():
    weight = torch.ones(1, 1)
    with pytest.raises(ConfigError, match="target: 'student'"):
        Term("x", "student", Divergence(), weight)
    with pytest.raises(ConfigError, match=r"term 'x': target 'data' .* forward_kl over full"):
        Term("x", "data", Divergence(kind="reverse_kl"), weight)
