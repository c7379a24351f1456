"""Responses written by a policy, with transformers' generation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from dopd_lightning.distributed.sharding import gathered
from dopd_lightning.inputs.padding import padded_left
from dopd_lightning.rollout.engine import Sampling, Written, up_to_end
from dopd_lightning.rollout.prefill import prefill


class TransformersEngine:
    """Engine of transformers' generation, the default: the policy itself writes, and no weights are copied."""

    positions: int | None = None

    def synchronise(self, policy: PreTrainedModel) -> None:
        """Do nothing: the policy itself writes."""

    @torch.no_grad()
    def generate(
        self,
        policy: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        eos_ids: Sequence[int],
        pad_id: int,
        vocabulary_size: int,
        samples_per_prompt: int = 1,
        logps: bool = False,
    ) -> Written:
        """See :class:`~dopd_lightning.rollout.Engine`; the caller puts the policy in eval mode.

        The policy's own ``generation_config`` (sampling, penalties, limits) is ignored: a rollout is a sample of the
        policy itself.
        """
        if not prompts:
            with gathered(policy):  # processes with prompts gather at the same time
                return Written([], [] if logps else None)
        recorded = _LogProbabilities() if logps else None
        processors: list[LogitsProcessor] = [] if recorded is None else [recorded]
        processors.append(_RealTokens(vocabulary_size))
        tokens = _sample(policy, prompts, sampling, eos_ids, pad_id, samples_per_prompt, processors)
        responses = [up_to_end(row, eos_ids) for row in tokens.tolist()]
        if recorded is None:
            return Written(responses, None)
        rows = recorded.of(tokens).tolist()
        return Written(responses, [row[: len(ids)] for row, ids in zip(rows, responses, strict=True)])


def generate(
    policy: PreTrainedModel, prompts: Sequence[Sequence[int]], sampling: Sampling, **options: Any
) -> list[list[int]]:
    """Return the responses of :meth:`TransformersEngine.generate`, without log-probabilities.

    Example:
        >>> from importlib.resources import files
        >>> from dopd_lightning.policies import load_policy
        >>> student = load_policy(files("dopd_lightning.assets") / "quickstart_student")
        >>> greedy = Sampling(max_new_tokens=4, temperature=0)
        >>> ids = generate(student, [[20, 21], [22]], greedy, eos_ids=[], pad_id=0, vocabulary_size=381)
        >>> [len(each) for each in ids]
        [4, 4]
    """
    return TransformersEngine().generate(policy, prompts, sampling, **options).ids


@torch.no_grad()
def step_logits(
    policy: PreTrainedModel, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], *, pad_id: int
) -> Tensor:
    """Return the logits ``(responses, tokens, vocab)`` of given responses, computed step by step as in generation.

    Args:
        policy: in eval mode.
        prompts: token ids, one list a prompt.
        responses: equally many to each prompt, next to each other, all of one length.
        pad_id: padding token.

    Example:
        >>> from importlib.resources import files
        >>> from dopd_lightning.policies import load_policy
        >>> student = load_policy(files("dopd_lightning.assets") / "quickstart_student")
        >>> step_logits(student, [[20, 21, 22], [23]], [[30, 31], [32, 33]], pad_id=0).shape[:2]
        torch.Size([2, 2])
    """
    given = _Given(torch.tensor(responses, device=policy.device))
    sampling = Sampling(max_new_tokens=len(responses[0]))
    _sample(policy, prompts, sampling, [], pad_id, len(responses) // len(prompts), [given])
    return torch.stack(given.logits, dim=1)


def _sample(
    policy: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    eos_ids: Sequence[int],
    pad_id: int,
    samples_per_prompt: int,
    processors: list[LogitsProcessor],
) -> Tensor:
    """Return the responses' tokens, ``(prompts * samples_per_prompt, tokens)``, shorter ones padded on the right."""
    ids, mask = (each.to(policy.device) for each in padded_left(prompts, pad_id))
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
        output: Tensor = policy.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            past_key_values=prefill(policy, ids, mask, samples_per_prompt),
            generation_config=config,
            logits_processor=LogitsProcessorList(processors),
            synced_gpus=False,  # the weights are gathered: no process waits for another's tokens
        )
    return output[:, ids.shape[1] :]


class _LogProbabilities(LogitsProcessor):
    """Keep each step's log-probability of the sampled token. It must come before processors that change logits."""

    def __init__(self) -> None:
        self._sampled: list[Tensor] = []
        self._now: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self._now is not None:  # the previous step's token is known now
            self._sampled.append(self._now.gather(1, input_ids[:, -1:]))
        self._now = scores.log_softmax(dim=-1)
        return scores

    def of(self, tokens: Tensor) -> Tensor:
        """Return the log-probabilities ``(responses, tokens)`` of all sampled ``tokens``."""
        assert self._now is not None, "generation has at least one step"
        return torch.cat([*self._sampled, self._now.gather(1, tokens[:, -1:])], dim=1)


class _RealTokens(LogitsProcessor):
    """Exclude the padding of a padded vocabulary; ``suppress_tokens`` would search for it at every step."""

    def __init__(self, vocabulary_size: int) -> None:
        self.vocabulary_size = vocabulary_size

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores[:, self.vocabulary_size :] = -torch.inf
        return scores


class _Given(LogitsProcessor):
    """Keep each step's logits, and force the given token."""

    def __init__(self, tokens: Tensor) -> None:
        self._tokens = tokens
        self.logits: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        token = self._tokens[:, len(self.logits), None]
        self.logits.append(scores.clone())
        return torch.full_like(scores, -torch.inf).scatter(1, token, 0.0)


@contextmanager
def _own_generation_config_set_aside(policy: PreTrainedModel) -> Iterator[None]:
    """Replace the policy's generation config: transformers fills unset fields from it (Qwen's has ``top_k`` 20)."""
    own = policy.generation_config
    policy.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        policy.generation_config = own
