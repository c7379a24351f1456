"""A frozen base with adapters that learn."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import adapters_off, head_of, is_read_right, load_lora_policy, load_policy

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


def test_with_adapters_off_it_is_the_base_and_then_learns_again(policy, models):
    before = learnt(policy)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_" in name:
                weight += 0.1
    base = logits(load_policy(models / "student"))
    assert not torch.allclose(logits(policy), base)
    with adapters_off(policy):
        assert torch.equal(logits(policy), base)
    assert not torch.allclose(logits(policy), base)
    assert learnt(policy) == before


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
