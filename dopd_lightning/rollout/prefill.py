"""Prompts read once, however many responses each gets."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


@torch.no_grad()
def prefill(policy: PreTrainedModel, prompt_ids: Tensor, prompt_mask: Tensor, repeats: int) -> DynamicCache | None:
    """Read all but the last token of each prompt, which is for ``generate`` to read: it samples from its logits.

    Left to itself, transformers' ``generate`` reads a prompt as often as it is answered. With the keys and values of one
    reading, repeated, it has one token a response left to read. What it samples is the same.

    Args:
        policy: in eval mode.
        prompt_ids, prompt_mask: ``(prompts, width)``, padded on the left.
        repeats: responses to each prompt.

    Returns:
        The ``past_key_values`` of ``prompts * repeats`` rows, those of one prompt next to each other. ``None`` where
        there is nothing to save, or where the policy remembers more than keys and values: transformers has no way to
        repeat the state of a Mamba-like layer.
    """
    if repeats == 1 or prompt_ids.shape[1] == 1:
        return None
    if not {"past_key_values", "position_ids"} <= inspect.signature(policy.forward).parameters.keys():
        return None
    cache = DynamicCache(config=policy.config)
    # Not isinstance: layers with a state besides are subclasses, and repeat their keys and values alone.
    if any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers):
        return None
    policy(
        input_ids=prompt_ids[:, :-1],
        attention_mask=prompt_mask[:, :-1],
        position_ids=(prompt_mask.cumsum(dim=1) - 1).clamp(min=0)[:, :-1],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_repeat_interleave(repeats)
    return cache
