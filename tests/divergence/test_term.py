"""Terms check themselves when they are made."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.divergence import Divergence, Pool, Term
from dopd_lightning.errors import ConfigError
from tests.two_sources import pool_of_two


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
    pool_of_two(0.0), pool_of_two(1.0), pool_of_two(1.5, geometric=True), pool_of_two(torch.ones(2, 3))
    pool_of_two(-0.1, geometric=True)
    with pytest.raises(ConfigError, match=r"Pool\.reference: -0\.5 must be at least 0"):
        pool_of_two(1.5)
    with pytest.raises(ConfigError, match=r"Pool: the weights sum to 0\.9; they must sum to 1"):
        Pool({"a": 0.5, "b": 0.2, "c": 0.2})
    with pytest.raises(ConfigError, match="Pool: no weight is given"):
        Pool({})
    with pytest.raises(ConfigError, match=r"Pool: 0\.3 must be weights by source"):
        Pool(0.3)


def test_the_target_is_checked():
    weight = torch.ones(1, 1)
    with pytest.raises(ConfigError, match="term 'x': needs the maths's scores, found none"):
        Term("x", "maths", Divergence(), weight).check_sources({"teacher"})
    with pytest.raises(ConfigError, match=r"term 'x': target 'data' .* forward_kl over full"):
        Term("x", "data", Divergence(kind="reverse_kl"), weight)
