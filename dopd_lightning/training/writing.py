"""Responses, by the student's engine or by transformers."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from dopd_lightning.policies import evaluating
from dopd_lightning.rollout import Engine, Sampling, TransformersEngine
from dopd_lightning.training.readings import Readings


class Writing:
    """Has policies write.

    Args:
        student: the policy whose responses the engine writes.
        engine: holds the student's weights, or is the student itself.
        readings: tries each policy before it first writes.
        eos_ids: tokens that end a response.
        pad_id: fills up.
        vocabulary_size: number of real tokens.

    Attributes:
        behind: whether the student has changed since the engine was given its weights.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        engine: Engine,
        readings: Readings,
        *,
        eos_ids: Sequence[int],
        pad_id: int,
        vocabulary_size: int,
    ) -> None:
        self.student, self.engine, self.readings = student, engine, readings
        self.eos_ids, self.pad_id, self.vocabulary_size = eos_ids, pad_id, vocabulary_size
        self.behind = True

    def synchronise(self, *, always: bool = False) -> None:
        """Push the student's weights to the engine if they changed; all processes call it together.

        Args:
            always: also if nobody said so: in a bare loop, nobody does.
        """
        if self.behind or always:
            with evaluating(self.student):
                self.engine.synchronise(self.student)
            self.behind = False

    def __call__(
        self,
        policy: PreTrainedModel,
        name: str,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        samples_per_prompt: int = 1,
    ) -> list[list[int]]:
        """Responses of a policy to each prompt, next to each other; the policy is in eval mode.

        Args:
            policy: the student, or a source's.
            name: its name in errors.
            prompts: token ids.
            sampling: how it writes.
            samples_per_prompt: responses to each prompt.
        """
        self.try_out(policy, name)
        return (
            self._engine_of(policy)
            .generate(
                policy,
                prompts,
                sampling,
                eos_ids=self.eos_ids,
                pad_id=self.pad_id,
                vocabulary_size=self.vocabulary_size,
                samples_per_prompt=samples_per_prompt,
            )
            .ids
        )

    def _engine_of(self, policy: PreTrainedModel) -> Engine:
        return self.engine if policy is self.student else TransformersEngine()

    def try_out(self, policy: PreTrainedModel, name: str) -> None:
        """Refuse a policy whose cached generation differs from its forward pass; tried once, with transformers.

        Raises:
            ConfigError: naming the policy.
        """
        if isinstance(self._engine_of(policy), TransformersEngine):
            self.readings.try_writing(name, policy)
