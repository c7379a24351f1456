"""Tiny policies that speak the tokens of a tiny tokenizer, and what they say one sequence at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.policies import new_policy, new_tokenizer

TEXTS = ["Add the numbers 1 2 3 step by step.", "Hint: first add 1 and 2, then 3.", "<answer>6</answer>"]


class MakePolicy(Protocol):
    def __call__(self, seed: int = 0, **fields: Any) -> PreTrainedModel: ...


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return new_tokenizer(TEXTS, vocabulary_size=280)


@pytest.fixture(scope="session")
def make_policy(tokenizer: PreTrainedTokenizerBase) -> MakePolicy:
    """Two Qwen3 layers with weights large enough that each prompt and each seed has a distribution of its own."""

    def make(seed: int = 0, **fields: Any) -> PreTrainedModel:
        architecture = {
            "model_type": "qwen3",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 512,
            "initializer_range": 0.2,
            "tie_word_embeddings": True,
        }
        return new_policy(architecture | fields, tokenizer, seed=seed).eval()

    return make


class LogitsOf(Protocol):
    def __call__(self, policy: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]) -> Tensor: ...


@pytest.fixture(scope="session")
def logits_of(tokenizer: PreTrainedTokenizerBase) -> LogitsOf:
    """The plain way: one unpadded sequence, the whole of it, and the rows before each response token."""

    def logits(policy: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
        every = policy(input_ids=torch.tensor([[*prompt, *response]])).logits[0]
        return torch.stack([every[len(prompt) + n - 1] for n in range(len(response))])[:, : len(tokenizer)]

    return logits
