"""The sources of responses, one class each (config group ``rollout``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.distributed.processes import first_process
from dopd_lightning.errors import ConfigError, DataError, check_choice, check_range
from dopd_lightning.rollout.engine import Engine, Sampling, up_to_end
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


@dataclass(frozen=True, kw_only=True)
class _Generated(Sampling):
    """What the sources that sample have in common."""

    samples_per_prompt: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("rollout.samples_per_prompt", self.samples_per_prompt, at_least=1)
        if self.temperature == 0 and self.samples_per_prompt > 1:
            raise ConfigError(
                f"rollout.samples_per_prompt: {self.samples_per_prompt} greedy responses (rollout.temperature=0) would "
                "all be the same; use a temperature above 0 or one sample per prompt"
            )

    @property
    def sampling(self) -> Sampling:
        return self

    def _by_student(self, request: RolloutRequest) -> list[list[int]]:
        return self._sample(request, request.engine, request.student, request.student_prompts)

    def _by_teacher(self, request: RolloutRequest) -> list[list[int]]:
        if request.teacher is None:
            raise ConfigError("rollout: the teacher is to write the responses, but there is no teacher")
        return self._sample(request, TransformersEngine(), request.teacher, request.teacher_prompts)

    def _sample(
        self, request: RolloutRequest, engine: Engine, policy: PreTrainedModel, prompts: Sequence[Sequence[int]]
    ) -> list[list[int]]:
        return engine.generate(
            policy,
            prompts,
            self,
            eos_ids=request.eos_ids,
            pad_id=request.pad_id,
            vocabulary_size=request.vocabulary_size,
            samples_per_prompt=self.samples_per_prompt,
        ).ids


@dataclass(frozen=True, kw_only=True)
class StudentRollout(_Generated):
    """On-policy: the bare student answers, ``y ~ Π_S(·|x)``. The paper's and the default."""

    needs_teacher: bool = field(default=False, init=False)
    needs_student: bool = field(default=True, init=False)
    student_writes: bool = field(default=True, init=False)

    def __call__(self, request: RolloutRequest) -> list[list[int]]:
        return self._by_student(request)


@dataclass(frozen=True, kw_only=True)
class TeacherRollout(_Generated):
    """The teacher answers, under what it is shown: sequence-level distillation (Kim & Rush, 2016)."""

    needs_teacher: bool = field(default=True, init=False)
    needs_student: bool = field(default=False, init=False)
    student_writes: bool = field(default=False, init=False)

    def __call__(self, request: RolloutRequest) -> list[list[int]]:
        return self._by_teacher(request)


@dataclass(frozen=True, kw_only=True)
class DatasetRollout:
    """Static completions from the data: off-policy distillation, and supervised fine-tuning with fusion rule ``data``.

    A completion ends at the first end-of-sequence token that its text spells, or else gets one: of a chat, the token
    that the chat template writes behind an assistant's message. One longer than ``max_new_tokens`` is cut there and
    then has no end-of-sequence token, as a rollout would.
    """

    max_new_tokens: int = Sampling.max_new_tokens
    samples_per_prompt: int = field(default=1, init=False)
    needs_teacher: bool = field(default=False, init=False)
    needs_student: bool = field(default=False, init=False)
    student_writes: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        check_range("rollout.max_new_tokens", self.max_new_tokens, at_least=1)

    @property
    def sampling(self) -> Sampling:
        return Sampling(max_new_tokens=self.max_new_tokens)

    def __call__(self, request: RolloutRequest) -> list[list[int] | Response]:
        responses: list[list[int] | Response] = []
        for number, (completion, end) in enumerate(zip(request.completions, request.completion_ends, strict=True)):
            if completion is None:
                raise DataError(
                    f"example {number} of the batch has no `completion`, which this rollout takes its responses from; "
                    "add one to the data or choose rollout=student"
                )
            if isinstance(completion, Response):
                assert completion.own is not None
                limit = self.max_new_tokens
                responses.append(Response(completion.ids[:limit], completion.own[:limit]))
                continue
            tokens = request.tokenizer.encode(completion, add_special_tokens=False)
            responses.append(up_to_end([*tokens, end], request.eos_ids)[: self.max_new_tokens])
        return responses


@dataclass(frozen=True, kw_only=True)
class MixedRollout(_Generated):
    """Each batch is on-policy with some probability, else off-policy (GKD, Agarwal et al., 2306.13649).

    Args:
        on_policy: the probability that the student answers.
        off_policy: who does otherwise: ``dataset`` or ``teacher``.
    """

    on_policy: float = 0.5
    off_policy: str = "dataset"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("rollout.on_policy", self.on_policy, at_least=0, at_most=1)
        check_choice("rollout.off_policy", self.off_policy, ("dataset", "teacher"))

    @property
    def needs_teacher(self) -> bool:
        return self.off_policy == "teacher"

    @property
    def needs_student(self) -> bool:
        return self.on_policy > 0

    @property
    def student_writes(self) -> bool:
        return self.on_policy == 1

    def __call__(self, request: RolloutRequest) -> Sequence[list[int] | Response]:
        coin = first_process(torch.rand(()).item())  # a batch is all processes' together, and so is its kind
        if coin < self.on_policy:
            return self._by_student(request)
        if self.off_policy == "teacher":
            return self._by_teacher(request)
        static = DatasetRollout(max_new_tokens=self.max_new_tokens)(request)
        return [response for response in static for _ in range(self.samples_per_prompt)]
