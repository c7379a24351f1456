"""Prompts read once, however many responses each gets."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from dopd_lightning.inputs.padding import position_ids

# Nothing but keys and values. Subclasses may keep a state besides, which transformers does not repeat.
_REPEATABLE = (DynamicLayer, DynamicSlidingWindowLayer)


@torch.no_grad()
def prefill(policy: PreTrainedModel, prompt_ids: Tensor, prompt_mask: Tensor, repeats: int) -> DynamicCache | None:
    """Read each prompt except its last token, which ``generate`` reads to sample the first response token.

    Left alone, transformers' ``generate`` reads a prompt once for each response. Given the keys and values of one
    reading, repeated, it samples the same for less.

    Args:
        policy: in eval mode.
        prompt_ids, prompt_mask: ``(prompts, width)``, padded on the left.
        repeats: responses to each prompt.

    Returns:
        ``past_key_values`` of ``prompts * repeats`` rows, those of one prompt next to each other. ``None`` where
        nothing would be saved, or the policy remembers more than keys and values, as Mamba-like ones do.
    """
    takes = inspect.signature(policy.forward).parameters.keys()
    if repeats == 1 or prompt_ids.shape[1] == 1 or not {"past_key_values", "position_ids"} <= takes:
        return None
    output = policy(
        input_ids=prompt_ids[:, :-1],
        attention_mask=prompt_mask[:, :-1],
        position_ids=position_ids(prompt_mask)[:, :-1],
        use_cache=True,
        logits_to_keep=1,
    )
    cache = getattr(output, "past_key_values", None)
    if type(cache) is not DynamicCache or any(type(layer) not in _REPEATABLE for layer in cache.layers):
        return None
    cache.batch_repeat_interleave(repeats)
    return cache
