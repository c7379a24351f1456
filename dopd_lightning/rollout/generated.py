"""Rollouts that sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from dopd_lightning.errors import ConfigError, check_range
from dopd_lightning.rollout.engine import Engine, Sampling
from dopd_lightning.rollout.generation import TransformersEngine
from dopd_lightning.rollout.rollout import RolloutRequest


@dataclass(frozen=True, kw_only=True)
class Generated(Sampling):
    """Settings and sampling that such rollouts share."""

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
