"""Responses written by a policy, with transformers' generation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from dopd_lightning.errors import check_range
from dopd_lightning.rollout.prefill import prefill
from dopd_lightning.sharding import gathered


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a policy writes.

    Args:
        max_new_tokens: length limit of a response, the end-of-sequence token included.
        temperature: of the samples; 0 writes the likeliest token each time (greedy). The loss never uses it.
        top_p: sample from the smallest set of tokens with this much probability; 1 is all.
        top_k: sample from this many likeliest tokens; 0 is all.

    Raises:
        ConfigError: for a value out of range.
    """

    max_new_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        check_range("max_new_tokens", self.max_new_tokens, at_least=1)
        check_range("temperature", self.temperature, at_least=0)
        check_range("top_p", self.top_p, above=0, at_most=1)
        check_range("top_k", self.top_k, at_least=0)


@torch.no_grad()
def generate(
    policy: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    eos_ids: Sequence[int],
    pad_id: int,
    vocabulary_size: int,
    samples_per_prompt: int = 1,
) -> list[list[int]]:
    """Sample responses; the caller puts the policy in eval mode.

    Args:
        policy: writes.
        prompts: token ids, one list a prompt.
        sampling: see :class:`Sampling`. What the policy's own ``generation_config`` says of sampling, penalties or
            limits is ignored: a rollout is a sample of the policy and nothing else.
        eos_ids: tokens that end a response.
        pad_id: fills up; it may be one of ``eos_ids``.
        vocabulary_size: number of real tokens; the padding of a padded vocabulary is never written.
        samples_per_prompt: responses to each prompt, next to each other in the result.

    Returns:
        The response tokens, up to and including the first end-of-sequence token, or ``max_new_tokens`` of them without.
    """
    if not prompts:
        with gathered(policy):  # together with processes that have some
            return []
    width = max(len(prompt) for prompt in prompts)
    padded = [[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    real = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    ids, mask = torch.tensor(padded, device=policy.device), torch.tensor(real, device=policy.device)
    sampled = sampling.temperature > 0
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=sampling.max_new_tokens,
        do_sample=sampled,
        num_return_sequences=samples_per_prompt,
        eos_token_id=list(eos_ids),
        pad_token_id=pad_id,
        **({"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k} if sampled else {}),
    )
    with _own_generation_config_set_aside(policy), gathered(policy):
        output = policy.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            past_key_values=prefill(policy, ids, mask, samples_per_prompt),
            generation_config=config,
            logits_processor=LogitsProcessorList([_RealTokens(vocabulary_size)]),
            synced_gpus=False,  # with its weights gathered, no process waits for another's tokens
        )
    return [up_to_end(row, eos_ids) for row in output[:, width:].tolist()]


def up_to_end(tokens: list[int], eos_ids: Collection[int]) -> list[int]:
    """Cut behind the first end-of-sequence token: what follows is padding, even where padding is that same token."""
    for count, token in enumerate(tokens, start=1):
        if token in eos_ids:
            return tokens[:count]
    return tokens


class _RealTokens(LogitsProcessor):
    """Leaves out a padded vocabulary's padding, as ``suppress_tokens`` would by a search at every step."""

    def __init__(self, vocabulary_size: int) -> None:
        self.vocabulary_size = vocabulary_size

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores[:, self.vocabulary_size :] = -torch.inf
        return scores


@contextmanager
def _own_generation_config_set_aside(policy: PreTrainedModel) -> Iterator[None]:
    """Transformers fills what a given config leaves open from the policy's own: Qwen's, say, has top_k 20."""
    own = policy.generation_config
    policy.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        policy.generation_config = own
