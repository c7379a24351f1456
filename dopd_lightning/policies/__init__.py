"""Policies: loading, building and freezing models, adapters, and checks of their vocabularies."""

from typing import Any

from dopd_lightning.moved import moved_name
from dopd_lightning.policies.freezing import checkpoint_activations, end_of_sequence_ids, evaluating, freeze
from dopd_lightning.policies.loading import (
    check_loading,
    load_config,
    load_policy,
    load_tokenizer,
    new_policy,
    tokenizer_of,
)
from dopd_lightning.policies.lora import base_of, has_adapters, load_lora_policy, merged
from dopd_lightning.policies.new_tokenizer import new_tokenizer
from dopd_lightning.policies.vocabulary import check_same_tokenizer, shared_vocabulary_size

__all__ = [
    "base_of",
    "check_loading",
    "check_same_tokenizer",
    "checkpoint_activations",
    "end_of_sequence_ids",
    "evaluating",
    "freeze",
    "has_adapters",
    "load_config",
    "load_lora_policy",
    "load_policy",
    "load_tokenizer",
    "merged",
    "new_policy",
    "new_tokenizer",
    "shared_vocabulary_size",
    "tokenizer_of",
]


def __getattr__(name: str) -> Any:
    return moved_name(__name__, name)
