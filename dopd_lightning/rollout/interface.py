"""Interface of rollouts, the origin of responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from dopd_lightning.rollout.engine import Sampling
from dopd_lightning.rollout.response import Response


@dataclass(frozen=True, kw_only=True)
class RolloutRequest:
    """Batch to respond to.

    Attributes:
        write: ``(name, sampling, samples_per_prompt)`` -> token ids of each response by a policy, ``student`` or a
            source, to the prompts as that policy sees them; responses to one prompt are next to each other.
        completions: responses in the data, where it has them: text, or tokens of several turns.
        completion_ends: end token of each of them.
        tokenizer: of all policies.
        eos_ids: tokens that end a response of any policy.
    """

    write: Callable[[str, Sampling, int], list[list[int]]]
    completions: Sequence[str | Response | None]
    completion_ends: Sequence[int]
    tokenizer: PreTrainedTokenizerBase
    eos_ids: Sequence[int]


class Rollout(Protocol):
    """Origin of a batch's responses.

    Attributes:
        samples_per_prompt: number of responses to each prompt, next to each other in the return value.
        writers: names of the policies that may write: ``student``, or sources.
        student_writes: True if the student writes every response.
        sampling: settings; answers to validation prompts have the same length limit and are greedy.
    """

    @property
    def samples_per_prompt(self) -> int: ...

    @property
    def writers(self) -> frozenset[str]: ...

    @property
    def student_writes(self) -> bool: ...

    @property
    def sampling(self) -> Sampling: ...

    def __call__(self, request: RolloutRequest) -> Sequence[list[int] | Response]: ...
