"""Interface of a rollout: where responses come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.rollout.engine import Engine, Sampling
from dopd_lightning.rollout.generation import TransformersEngine
from dopd_lightning.rollout.response import Response


@dataclass(frozen=True, kw_only=True)
class RolloutRequest:
    """What a batch offers to answer with and to.

    Attributes:
        student, teacher: policies in eval mode; there may be no teacher.
        student_prompts, teacher_prompts: token ids of each example's prompt as either sees it.
        completions: static responses, where the data has them: text, or tokens of several turns.
        completion_ends: the token behind each of them.
        tokenizer: of both.
        eos_ids: tokens that end a response, whoever writes.
        pad_id: fills up.
        vocabulary_size: number of real tokens, see :class:`~dopd_lightning.rollout.Engine`.
        engine: writes for the student, whose weights it has. The teacher's responses are always transformers'.
    """

    student: PreTrainedModel
    teacher: PreTrainedModel | None
    student_prompts: Sequence[Sequence[int]]
    teacher_prompts: Sequence[Sequence[int]]
    completions: Sequence[str | Response | None]
    completion_ends: Sequence[int]
    tokenizer: PreTrainedTokenizerBase
    eos_ids: Sequence[int]
    pad_id: int
    vocabulary_size: int
    engine: Engine = field(default_factory=TransformersEngine)


class Rollout(Protocol):
    """Where responses come from.

    Attributes:
        samples_per_prompt: responses to each prompt, next to each other in what a call returns.
        needs_teacher: whether the teacher writes.
        needs_student: whether the student writes, so that its engine must have its present weights.
        student_writes: whether the student writes every response.
        sampling: limits, also used for answers to validation prompts (greedily).
    """

    @property
    def samples_per_prompt(self) -> int: ...

    @property
    def needs_teacher(self) -> bool: ...

    @property
    def needs_student(self) -> bool: ...

    @property
    def student_writes(self) -> bool: ...

    @property
    def sampling(self) -> Sampling: ...

    def __call__(self, request: RolloutRequest) -> Sequence[list[int] | Response]: ...
