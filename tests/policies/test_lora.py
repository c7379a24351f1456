"""A frozen base with adapters that learn."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import base_of, load_lora_policy, load_policy
from dopd_lightning.scores import head_of, is_read_right

IDS = torch.tensor([[40, 41, 42]])


@pytest.fixture
def policy(models):
    return load_lora_policy(models / "student", r=2)


def logits(policy):
    with torch.no_grad():
        return policy(input_ids=IDS).logits


def learnt(policy):
    return {name for name, weight in policy.named_parameters() if weight.requires_grad}


def test_only_adapters_have_a_gradient_and_they_begin_as_no_change(policy, models):
    assert learnt(policy) == {name for name, _ in policy.named_parameters() if "lora_" in name} != set()
    torch.testing.assert_close(logits(policy), logits(load_policy(models / "student")))


def test_its_base_is_a_policy_of_its_own_that_shares_the_weights(policy, models):
    before = learnt(policy)
    base = base_of(policy.train())
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_" in name:
                weight += 0.1
    loaded = load_policy(models / "student")
    assert torch.equal(logits(base), logits(loaded))
    assert not torch.allclose(logits(policy), logits(loaded))
    assert base.state_dict().keys() == loaded.state_dict().keys()
    assert {*base.parameters()} < {*policy.parameters()}
    assert not any(module.training for module in base.modules())
    assert policy.training
    assert learnt(policy) == before


def test_there_is_no_base_of_a_policy_without_adapters(models):
    with pytest.raises(ConfigError, match="teacher: the student has no adapters"):
        base_of(load_policy(models / "student"))


def test_the_head_is_read(policy, tokenizer):
    assert is_read_right(head_of(policy, len(tokenizer)), policy)


def test_adapters_are_in_float32_over_a_base_in_bfloat16(models):
    policy = load_lora_policy(models / "student", r=2, dtype="bfloat16")
    dtypes = {("lora_" in name, weight.dtype) for name, weight in policy.named_parameters()}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}
    assert logits(policy).isfinite().all()


def test_a_seed_decides_the_adapters_and_leaves_the_random_state(models):
    state = torch.get_rng_state()
    one, same, other = (load_lora_policy(models / "student", r=2, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_layers_that_are_not_there(models):
    with pytest.raises(ConfigError, match=r"target_modules: \['nowhere'\]"):
        load_lora_policy(models / "student", target_modules=["nowhere"])
