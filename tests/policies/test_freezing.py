"""Policies that only answer or score."""

from __future__ import annotations

import pytest
from torch import nn
from transformers import GenerationConfig

from dopd_lightning.policies import end_of_sequence_ids, evaluating, freeze


def test_frozen_is_eval_mode_without_gradients(make_policy):
    policy = make_policy().train()
    freeze(policy)
    assert not any(module.training for module in policy.modules())
    assert not any(parameter.requires_grad for parameter in policy.parameters())


def mixed() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(), nn.Dropout()).train()
    model[2].eval()  # a part that its owner keeps in eval mode
    return model


def test_evaluating_is_eval_mode_inside_and_every_parts_own_mode_after():
    model = mixed()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model] == [True, True, False]
    assert model.training


def test_evaluating_restores_modes_on_an_exception():
    model = mixed()
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert [module.training for module in model] == [True, True, False]


def test_every_end_of_sequence_id_is_found(make_policy, tokenizer):
    policy = make_policy()
    assert end_of_sequence_ids(policy, tokenizer) == [tokenizer.eos_token_id]
    policy.generation_config = GenerationConfig(eos_token_id=[7, 5])
    policy.config.eos_token_id = 9
    assert end_of_sequence_ids(policy, tokenizer) == sorted({5, 7, 9, tokenizer.eos_token_id})
