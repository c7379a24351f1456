"""Behaviour of transformers that this package relies on, and some releases lacked."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3TextConfig, SiglipVisionConfig

from dopd_lightning import DOPDModule
from dopd_lightning.fusion import Data
from dopd_lightning.rollout import DatasetRollout
from dopd_lightning.training.response_writer import ResponseWriter

pytestmark = pytest.mark.lowest


def supervised(policy, tokenizer):
    return DOPDModule(policy, fusion=Data(), rollout=DatasetRollout(max_new_tokens=16), tokenizer=tokenizer)


def test_an_answer_keeps_its_spaces_though_a_tokenizer_wants_to_tidy_it(make_policy, tokenizer, monkeypatch):
    """All of Llama 3's tokenizers have ``clean_up_tokenization_spaces``, which would make ``x!='m',y`` of this."""
    monkeypatch.setattr(tokenizer, "clean_up_tokenization_spaces", True)
    module = supervised(make_policy(0), tokenizer)
    right = "x != 'm' , y"
    monkeypatch.setattr(ResponseWriter, "__call__", lambda *_: [tokenizer.encode(right, add_special_tokens=False)])
    assert module.answer([{"prompt": "Say it."}]) == [right]


def test_a_gemma_3_that_also_sees_learns_from_text(tokenizer):
    """``AutoModelForCausalLM`` gives this class for gemma-3-4b-it; in train mode 5.0 wanted its ``token_type_ids``."""
    text = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 256}
    seen = SiglipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    marks = {"image_token_index": 270, "boi_token_index": 271, "eoi_token_index": 272, "mm_tokens_per_image": 4}
    config = Gemma3Config(text_config=Gemma3TextConfig(**text).to_dict(), vision_config=seen.to_dict(), **marks)
    module = supervised(AutoModelForCausalLM.from_config(config), tokenizer)
    assert module.training_step([{"prompt": "Add 1 2.", "completion": "3"}], 0)["loss"] > 0
