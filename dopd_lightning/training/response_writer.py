"""Generation of responses, by the student's engine or by transformers."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from dopd_lightning.policies import evaluating
from dopd_lightning.rollout import Engine, Sampling, TransformersEngine
from dopd_lightning.training.probes import Probes


class ResponseWriter:
    """Generate responses of policies.

    Args:
        student: the policy whose responses the engine writes.
        engine: writes the student's responses, with a copy of its weights or the student itself.
        probes: tests each policy before it first writes.
        eos_ids: tokens that end a response.
        pad_id: padding token.
        vocabulary_size: number of real tokens.

    Attributes:
        behind: True if the student has changed since its weights were pushed to the engine.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        engine: Engine,
        probes: Probes,
        *,
        eos_ids: Sequence[int],
        pad_id: int,
        vocabulary_size: int,
    ) -> None:
        self.student, self.engine, self.probes = student, engine, probes
        self.eos_ids, self.pad_id, self.vocabulary_size = eos_ids, pad_id, vocabulary_size
        self.behind = True

    def synchronise(self, *, always: bool = False) -> None:
        """Push the student's weights to the engine if they changed; all processes call it together.

        Args:
            always: push in any case; a bare loop does not report changes.
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
        """Return the token ids of responses; those to one prompt are next to each other.

        Args:
            policy: the student, or a policy of a source, in eval mode.
            name: name of the policy in errors.
            prompts: token ids of the prompts.
            sampling: sampling settings.
            samples_per_prompt: number of responses to each prompt.
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
        """Refuse a policy whose cached generation differs from its forward pass; tested once, with transformers only.

        Raises:
            ConfigError: naming the policy.
        """
        if isinstance(self._engine_of(policy), TransformersEngine):
            self.probes.try_writing(name, policy)
