"""Policies that read a text otherwise behind padding, or token by token, are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING

from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import Data
from dopd_lightning.policies import load_lora_policy, load_policy
from dopd_lightning.rollout import DatasetRollout, StudentRollout
from dopd_lightning.training.module import DOPDModule
from dopd_lightning.training.probes import Probes

MAMBA = {"model_type": "mamba", "state_size": 8, "expand": 2}
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2}
QWEN3_NEXT = {
    "model_type": "qwen3_next",
    "layer_types": ["linear_attention", "full_attention"],
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
RIGHT: dict[str, dict[str, Any]] = {
    "qwen3": {},
    "qwen3 of 16 positions": {"max_position_embeddings": 16},
    "gemma3, sliding": {"model_type": "gemma3_text", "sliding_window": 16},
    "gpt2": GPT2,
    "mamba": MAMBA,
    "qwen3_next": QWEN3_NEXT,
}
RWKV = {"model_type": "rwkv", "attention_hidden_size": 32}
RECURRENT_GEMMA = {"model_type": "recurrent_gemma", "lru_width": 32, "block_types": ["recurrent", "attention"]}
BART = {
    "model_type": "bart",
    "d_model": 32,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "is_encoder_decoder": False,
}


def make(make_policy, fields):
    if fields.get("model_type", "qwen3") not in CONFIG_MAPPING:
        pytest.skip(f"this release of transformers has no {fields['model_type']}")
    return make_policy(**{"initializer_range": 0.02} | fields)


@pytest.fixture
def probes(tokenizer):
    return lambda policy: Probes(tokenizer, len(tokenizer), getattr(policy.config, "max_position_embeddings", 512))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fields", RIGHT.values(), ids=RIGHT)
def test_new_models_that_read_right_pass(make_policy, probes, fields, dtype):
    policy = make(make_policy, fields).to(dtype).train()
    tried = probes(policy)
    state = torch.get_rng_state()
    tried.try_scoring("student", policy)
    tried.try_writing("student", policy)
    assert torch.equal(torch.get_rng_state(), state)
    assert policy.training


@pytest.mark.parametrize("quantization", ["int8", "int4"])
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_quantized_models_pass(make_policy, tmp_path, probes, quantization):
    wide = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 32, "num_key_value_heads": 2}
    make_policy(**wide).save_pretrained(tmp_path)  # on some CPUs, int4 takes multiples of 64
    policy = load_policy(tmp_path, quantization=quantization, dtype="bfloat16")
    tried = probes(policy)
    tried.try_scoring("teacher", policy)
    tried.try_writing("teacher", policy)


def test_adapters_pass(models, probes):
    policy = load_lora_policy(models / "student", r=2, dropout=0.5).train()
    probes(policy).try_scoring("student", policy)
    probes(policy).try_writing("student", policy)


PADDING = "student: .* reads padding as text: .* differ by up to [\\d.e-]+ nats"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (RWKV, PADDING),
        (RECURRENT_GEMMA, PADDING),
        (BART, PADDING),
        ({"model_type": "megatron-bert"}, "student: MegatronBertForCausalLM looks ahead: "),
    ],
    ids=["rwkv", "recurrent_gemma", "bart", "bert"],
)
@pytest.mark.filterwarnings("ignore:.*is_decoder")
def test_new_models_that_read_otherwise_are_refused(make_policy, probes, fields, complaint):
    policy = make(make_policy, fields)
    with pytest.raises(ConfigError, match=complaint):
        probes(policy).try_scoring("student", policy)


def test_a_cached_step_that_is_another_than_a_training_pass(make_policy, probes, monkeypatch):
    policy = make_policy()
    probes(policy).try_writing("teacher", policy)
    forward = policy.forward

    def off_when_cached(input_ids, past_key_values=None, **arguments):
        output = forward(input_ids=input_ids, past_key_values=past_key_values, **arguments)
        if input_ids.shape[1] == 1:
            output.logits = output.logits.roll(1, -1)
        return output

    monkeypatch.setattr(policy, "forward", off_when_cached)
    with pytest.raises(
        ConfigError, match=r"teacher: Qwen3ForCausalLM samples from other probabilities than it is scored with: .*nats"
    ):
        probes(policy).try_writing("teacher", policy)


def test_a_forward_without_the_arguments_that_are_used(make_policy, probes, monkeypatch):
    policy = make_policy()
    monkeypatch.setattr(policy, "forward", lambda input_ids, attention_mask: None)
    with pytest.raises(ConfigError, match=r"reference: Qwen3ForCausalLM cannot be used for scoring, .*position_ids"):
        probes(policy).try_scoring("reference", policy)


@pytest.mark.parametrize("way", ["training_step", "answer"])
def test_a_module_tries_its_policies_before_it_relies_on_them(make_policy, tokenizer, way):
    rollout = DatasetRollout() if way == "training_step" else StudentRollout()
    module = DOPDModule(make(make_policy, RWKV), fusion=Data(), rollout=rollout, tokenizer=tokenizer)
    examples = [{"prompt": "Add 1 2.", "completion": "3"}]
    with pytest.raises(ConfigError, match="student: RwkvForCausalLM"):
        module.training_step(examples, 0) if way == "training_step" else module.answer(examples)
