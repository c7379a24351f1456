"""Errors for models that cannot be sharded; others are left alone. (Real shards: tests/distributed.)"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dopd_lightning.distributed.sharding import gathered, is_sharded, let_go, shard, whole_weights
from dopd_lightning.errors import ConfigError


def test_a_model_that_names_no_layers_is_refused():
    with pytest.raises(ConfigError, match=r"trainer\.strategy: Linear does not name its decoder layers"):
        shard(nn.Linear(2, 2), mesh=None)


def test_two_dtypes_are_refused(make_policy):
    policy = make_policy()
    policy.model.norm.to(torch.bfloat16)
    with pytest.raises(ConfigError, match="one dtype, and Qwen3ForCausalLM has bfloat16 and float32"):
        shard(policy, mesh=None)


def test_a_policy_on_one_process_is_left_as_it_is(make_policy):
    policy = make_policy()
    with gathered(policy):
        let_go(policy)
    assert not is_sharded(policy)
    weights = whole_weights(policy)
    assert all(weights[name].equal(weight) for name, weight in policy.state_dict().items())
