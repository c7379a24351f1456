"""A head is read as the model does, or it is refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, PreTrainedModel

from dopd_lightning.scores import head_of, is_read_right
from dopd_lightning.scores.head import Head

IDS = torch.tensor([[7, 3, 11, 200, 5, 42, 9, 0, 1]])

CAPPED = {"final_logit_softcapping": 5.0}
FALCON_H1 = {
    "model_type": "falcon_h1",
    "mamba_d_ssm": 32,
    "mamba_n_heads": 2,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 4,
}
MINICPM3 = {
    "model_type": "minicpm3",
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
RECURRENT_GEMMA = {"model_type": "recurrent_gemma", "lru_width": 32, "block_types": ["attention"]}

READ: dict[str, dict[str, Any]] = {
    "qwen3, tied": {},
    "qwen3, untied": {"tie_word_embeddings": False},
    "llama": {"model_type": "llama"},
    "mistral": {"model_type": "mistral"},
    "olmo2": {"model_type": "olmo2"},
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 32},
    "gpt_neox": {"model_type": "gpt_neox"},
    "opt": {"model_type": "opt"},
    "phi": {"model_type": "phi", "tie_word_embeddings": False},  # has a bias
    "gemma2": {"model_type": "gemma2", **CAPPED},
    "gemma3": {"model_type": "gemma3_text", **CAPPED},
    "gemma3, uncapped": {"model_type": "gemma3_text", "final_logit_softcapping": None},
    "nanochat": {"model_type": "nanochat", **CAPPED},
    "cohere": {"model_type": "cohere", "logit_scale": 0.3},
    "cohere2": {"model_type": "cohere2", "logit_scale": 0.3},
    "granite": {"model_type": "granite", "logits_scaling": 4.0},
    "falcon_h1, unscaled": FALCON_H1 | {"lm_head_multiplier": 1.0},
}
REFUSED: dict[str, dict[str, Any]] = {
    "falcon_h1: a scale of another name": FALCON_H1 | {"lm_head_multiplier": 0.3},
    "minicpm3: divides states, and not logits": MINICPM3 | {"dim_model_base": 16},
    "hyperclovax: multiplies where granite divides": {"model_type": "hyperclovax", "logits_scaling": 0.3},
    "mpt: a field without effect": {"model_type": "mpt", "logit_scale": 0.5},
    "recurrent_gemma: a cap of another name": RECURRENT_GEMMA | {"logits_soft_cap": 0.5},
}


def make(make_policy, **fields: Any) -> PreTrainedModel:
    if fields.get("model_type", "qwen3") not in CONFIG_MAPPING:
        pytest.skip(f"this release of transformers has no {fields['model_type']}")
    policy = make_policy(**{"initializer_range": 1.0, "num_hidden_layers": 1} | fields)
    bias = policy.get_output_embeddings().bias
    if bias is not None:
        nn.init.normal_(bias, generator=torch.Generator().manual_seed(0))
    return policy


@torch.no_grad()
def states_and_logits(policy: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Return the head's input and the model's logits for some tokens."""
    received = []
    handle = policy.get_output_embeddings().register_forward_hook(lambda _, args, out: received.append(args[0]))
    logits = policy(input_ids=IDS).logits[0]
    handle.remove()
    return received[0][0], logits


@pytest.mark.parametrize("fields", READ.values(), ids=READ)
def test_heads_of_many_architectures_are_read(make_policy, tokenizer, fields):
    policy = make(make_policy, **fields)
    head = head_of(policy, len(tokenizer))
    assert head is not None
    assert is_read_right(head, policy)
    states, logits = states_and_logits(policy)
    with torch.no_grad():
        torch.testing.assert_close(head.logits(states, torch.empty_like(logits)), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("gemma2", {"softcap": None}),
        ("gemma3", {"softcap": None}),
        ("nanochat", {"softcap": None}),
        ("cohere", {"scale": 1.0}),
        ("granite", {"scale": 1.0}),
        ("phi", {"bias": None}),
    ],
)
def test_a_part_left_out_is_noticed(make_policy, tokenizer, name, without):
    policy = make(make_policy, **READ[name])
    head = head_of(policy, len(tokenizer))
    assert not is_read_right(replace(head, **without), policy)


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
def test_what_is_done_to_logits_elsewhere_is_noticed(make_policy, tokenizer, fields):
    policy = make(make_policy, **fields)
    head = head_of(policy, len(tokenizer))
    assert head is None or not is_read_right(head, policy)


def test_the_weights_are_the_models_own_and_padding_is_not_read(make_policy):
    policy = make_policy(vocab_size=320)
    head = head_of(policy, 280)
    assert head.weight is policy.lm_head.weight
    assert head.vocabulary_size == 280
    assert is_read_right(head, policy)


@pytest.mark.parametrize("name", ["qwen3, tied", "gemma2", "granite", "phi"])
def test_bfloat16_is_read(make_policy, tokenizer, name):
    policy = make(make_policy, **READ[name]).bfloat16()
    head = head_of(policy, len(tokenizer))
    assert is_read_right(head, policy)
    states, logits = states_and_logits(policy)
    with torch.no_grad():
        found = head.logits(states, torch.empty(logits.shape))
    torch.testing.assert_close(found, logits.float(), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(("dtype", "scale"), [(torch.float32, 1.01), (torch.bfloat16, 1.1)])
def test_a_small_difference_is_noticed_too(make_policy, tokenizer, dtype, scale):
    policy = make_policy().to(dtype)
    head = head_of(policy, len(tokenizer))
    assert is_read_right(head, policy)
    assert not is_read_right(replace(head, scale=scale), policy)


class Adapted(nn.Linear):
    """Layer with an adapter: its own weights, and something on top."""

    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states) + states.sum(-1, keepdim=True)


def test_a_layer_derived_from_a_linear_one_is_refused(make_policy, tokenizer):
    policy = make_policy()
    policy.lm_head = Adapted(32, len(tokenizer), bias=False)
    assert head_of(policy, len(tokenizer)) is None


def test_a_layer_around_a_linear_one_is_refused(make_policy, tokenizer):
    policy = make_policy()
    policy.lm_head = nn.Sequential(policy.lm_head)
    assert head_of(policy, len(tokenizer)) is None


def test_a_parametrized_layer_is_refused(make_policy, tokenizer):
    policy = make_policy(tie_word_embeddings=False)
    nn.utils.parametrizations.weight_norm(policy.lm_head)
    assert head_of(policy, len(tokenizer)) is None


def test_integer_weights_are_refused(make_policy, tokenizer):
    policy = make_policy(tie_word_embeddings=False)
    policy.lm_head.weight = nn.Parameter(policy.lm_head.weight.data.to(torch.int8), requires_grad=False)
    assert head_of(policy, len(tokenizer)) is None


def test_a_policy_without_a_head_is_refused(make_policy, tokenizer, monkeypatch):
    policy = make_policy()
    monkeypatch.setattr(policy, "get_output_embeddings", lambda: None)
    assert head_of(policy, len(tokenizer)) is None


def test_an_unknown_cap_is_noticed_before_logits_reach_it(make_policy, tokenizer):
    policy = make(make_policy, **RECURRENT_GEMMA | {"logits_soft_cap": 30.0, "initializer_range": 0.02})
    _, logits = states_and_logits(policy)
    assert logits.abs().max() < 5
    assert not is_read_right(head_of(policy, len(tokenizer)), policy)


def test_weights_that_a_hook_recomputes_are_refused(make_policy, tokenizer):
    policy = make_policy(tie_word_embeddings=False)
    with pytest.warns(FutureWarning, match="weight_norm"):
        nn.utils.weight_norm(policy.lm_head)
    assert type(policy.lm_head) is nn.Linear
    assert head_of(policy, len(tokenizer)) is None


def test_a_scale_that_is_a_formula_is_refused(make_policy, tokenizer):
    policy = make_policy()
    policy.config.logit_scale = "inv_sqrt_d_model"
    assert head_of(policy, len(tokenizer)) is None


class TestForwardsThatNobodyKnows:
    @pytest.fixture
    def policy(self, make_policy) -> PreTrainedModel:
        return make_policy()

    @pytest.fixture
    def head(self, policy, tokenizer) -> Head:
        return head_of(policy, len(tokenizer))

    def test_logits_altered_behind_the_head(self, policy, head, monkeypatch):
        forward = policy.forward

        def altered(*args, **kwargs):
            output = forward(*args, **kwargs)
            output.logits[..., 100] += 3.0
            return output

        assert is_read_right(head, policy)
        monkeypatch.setattr(policy, "forward", altered)
        assert not is_read_right(head, policy)

    def test_a_head_that_is_not_called(self, policy, head, monkeypatch):
        def without_call(input_ids, **_):
            states = policy.model(input_ids=input_ids).last_hidden_state
            return SimpleNamespace(logits=nn.functional.linear(states, policy.lm_head.weight))

        monkeypatch.setattr(policy, "forward", without_call)
        assert not is_read_right(head, policy)

    def test_a_head_that_is_called_by_keyword(self, policy, head, monkeypatch):
        def by_keyword(input_ids, **_):
            states = policy.model(input_ids=input_ids).last_hidden_state
            return SimpleNamespace(logits=policy.lm_head(input=states))

        monkeypatch.setattr(policy, "forward", by_keyword)
        assert not is_read_right(head, policy)

    def test_a_head_that_is_called_twice(self, policy, head, monkeypatch):
        def twice(input_ids, **_):
            states = policy.model(input_ids=input_ids).last_hidden_state
            return SimpleNamespace(logits=policy.lm_head(states / 2) + policy.lm_head(states / 2))

        monkeypatch.setattr(policy, "forward", twice)
        assert not is_read_right(head, policy)

    def test_a_head_that_gets_the_tokens_as_one_row(self, policy, head, monkeypatch):
        def flat(input_ids, **_):
            states = policy.model(input_ids=input_ids).last_hidden_state
            return SimpleNamespace(logits=policy.lm_head(states.flatten(0, 1)).unsqueeze(0))

        monkeypatch.setattr(policy, "forward", flat)
        assert not is_read_right(head, policy)

    def test_a_hook_that_alters_what_the_head_says(self, policy, head):
        policy.lm_head.register_forward_hook(lambda _, args, output: 2 * output)
        assert not is_read_right(head, policy)

    def test_a_hook_that_alters_what_the_head_receives_is_no_harm(self, policy, head):
        policy.lm_head.register_forward_pre_hook(lambda _, args: (2 * args[0],))
        assert is_read_right(head, policy)


def test_trying_leaves_nothing_behind(make_policy, tokenizer):
    policy = make_policy()
    head = head_of(policy, len(tokenizer))
    with torch.autocast("cpu", torch.bfloat16):
        assert is_read_right(head, policy)
    assert not policy.lm_head._forward_pre_hooks
    assert all(parameter.grad is None for parameter in policy.parameters())


def test_a_failing_policy_keeps_no_hook(make_policy, tokenizer, monkeypatch):
    def broken(**_):
        raise KeyError

    policy = make_policy()
    head = head_of(policy, len(tokenizer))
    monkeypatch.setattr(policy.model, "forward", broken)
    with pytest.raises(KeyError):
        is_read_right(head, policy)
    assert not policy.lm_head._forward_pre_hooks
