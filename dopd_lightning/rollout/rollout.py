"""Interface of a rollout: where responses come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from dopd_lightning.rollout.engine import Sampling
from dopd_lightning.rollout.response import Response


@dataclass(frozen=True, kw_only=True)
class RolloutRequest:
    """A batch to respond to.

    Attributes:
        write: has a policy, ``student`` or a source by its name, respond to the batch's prompts as it sees them:
            ``(name, sampling, samples_per_prompt)`` -> token ids of each response, those to one prompt side by side.
        completions: static responses, where the data has them: text, or tokens of several turns.
        completion_ends: the token behind each of them.
        tokenizer: of all policies.
        eos_ids: tokens that end a response, whoever writes.
    """

    write: Callable[[str, Sampling, int], list[list[int]]]
    completions: Sequence[str | Response | None]
    completion_ends: Sequence[int]
    tokenizer: PreTrainedTokenizerBase
    eos_ids: Sequence[int]


class Rollout(Protocol):
    """Origin of a batch's responses.

    Attributes:
        samples_per_prompt: responses to each prompt, next to each other in what a call returns.
        writers: names of the policies that may write: ``student``, or sources.
        student_writes: True if the student writes every response.
        sampling: limits, also used for answers to validation prompts (greedily).
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
