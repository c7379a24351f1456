"""Requests to vLLM, over HTTP and in this process alike, and checks of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from dopd_lightning.errors import EngineError
from dopd_lightning.rollout.engine import Sampling, Written

_SEEDS = 2**62  # vLLM takes signed 64-bit numbers, and adds the number of the sample


def requests_of(
    policy: PreTrainedModel,
    prompts: int,
    sampling: Sampling,
    *,
    eos_ids: Sequence[int],
    vocabulary_size: int,
    samples_per_prompt: int,
    logps: bool,
) -> list[dict[str, Any]]:
    """Fields of vLLM's sampling parameters, for each of this many prompts: each has a seed of its own.

    One seed for several prompts, as one HTTP request for all of them would have, would draw the same random numbers for
    each: two equal prompts would be answered alike.

    A server's defaults, such as those in a model's ``generation_config``, have no say: all that shapes the distribution
    is given, and ``ignore_eos`` leaves the end to ``stop_token_ids``.
    """
    padding = range(vocabulary_size, policy.config.get_text_config().vocab_size)
    fields: dict[str, Any] = {
        "n": samples_per_prompt,
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "ignore_eos": True,
        "stop_token_ids": list(eos_ids),
        "logprobs": 0 if logps else None,  # 0 others besides the sampled token
        # vLLM's lowest bias, a factor of e^-100. Allowing the real tokens instead would be a list of all of them.
        "logit_bias": {str(token): -100.0 for token in padding} or None,
    }
    if sampling.temperature == 0:
        return [fields] * prompts
    return [fields | {"seed": seed} for seed in torch.randint(_SEEDS, (prompts,)).tolist()]


def check_written(written: Written, sampling: Sampling, *, eos_ids: Sequence[int], vocabulary_size: int) -> None:
    """Refuse responses that break the contract of :class:`~dopd_lightning.rollout.Engine`.

    Raises:
        EngineError: naming what is wrong.
    """
    for number, ids in enumerate(written.ids):
        ends = [count for count, token in enumerate(ids, start=1) if token in eos_ids]
        length = ends[0] if ends else sampling.max_new_tokens
        if len(ids) != length:
            raise EngineError(
                f"engine: a response of {len(ids)} tokens that should have {length}: it is to end with the first "
                f"end-of-sequence token or at rollout.max_new_tokens={sampling.max_new_tokens}"
            )
        foreign = [token for token in ids if not 0 <= token < vocabulary_size]
        if foreign:
            raise EngineError(f"engine: token {foreign[0]} in a response is none of the {vocabulary_size} real tokens")
        if written.logps is not None and len(written.logps[number]) != len(ids):
            found = len(written.logps[number])
            raise EngineError(f"engine: {found} log-probabilities came with a response of {len(ids)} tokens")
