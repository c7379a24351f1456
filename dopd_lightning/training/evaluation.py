"""Evaluation of a policy by its greedy answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.data import Example, Verifier, examples_of
from dopd_lightning.distributed.sharding import gathered
from dopd_lightning.errors import ConfigError
from dopd_lightning.inputs import Encoder
from dopd_lightning.policies import evaluating
from dopd_lightning.record.metrics import Accuracy
from dopd_lightning.rollout import Sampling
from dopd_lightning.sources import OnePolicy, Source
from dopd_lightning.training.response_writer import ResponseWriter


class Evaluation:
    """Generate and score greedy answers of the student, or of a source with one policy.

    Args:
        writing: generates answers.
        sources: by name.
        encoder: encodes prompts.
        tokenizer: decodes answers.
        verifier: scores answers.
        max_new_tokens: length limit of an answer.
        privileged: show privileged text in prompts.
    """

    def __init__(
        self,
        writing: ResponseWriter,
        sources: Mapping[str, Source],
        encoder: Encoder,
        tokenizer: PreTrainedTokenizerBase,
        verifier: Verifier,
        max_new_tokens: int,
        privileged: bool,
    ) -> None:
        self.writing, self.sources, self.encoder, self.tokenizer = writing, sources, encoder, tokenizer
        self.verifier, self.privileged = verifier, privileged
        self._greedy = Sampling(max_new_tokens=max_new_tokens, temperature=0)
        self._name = "student"  # the policy that answers
        self._gathered = ExitStack()

    @property
    def policy(self) -> PreTrainedModel:
        """Policy that answers."""
        if self._name == "student":
            return self.writing.student
        source = self.sources[self._name]
        assert isinstance(source, OnePolicy), "checked in by()"
        return source.policy(self.writing.student)

    @property
    def of_student(self) -> bool:
        """True if the student answers."""
        return self._name == "student"

    @contextmanager
    def by(self, name: str) -> Iterator[None]:
        """Switch to another policy inside the block: ``student``, or a source.

        Raises:
            ConfigError: if there is no such source, or it has several policies.
        """
        if name != "student":
            if name not in self.sources:
                raise ConfigError(f"the {name} cannot be evaluated: there is no {name}")
            if not isinstance(self.sources[name], OnePolicy):
                raise ConfigError(f"the {name} cannot be evaluated: it has several policies; only one can write")
        before, self._name = self._name, name
        try:
            yield
        finally:
            self._name = before

    def answer(self, examples: Sequence[Example], *, synchronise: bool = False) -> list[str]:
        """Return one answer to each example.

        Args:
            examples: as in a batch.
            synchronise: push the student's weights to the engine in any case.
        """
        policy = self.policy
        prompts = [self.encoder.prompt(example, privileged=self.privileged) for example in examples]
        if self.of_student:
            self.writing.synchronise(always=synchronise)
        with evaluating(policy):
            written = self.writing(policy, self._name, prompts, self._greedy)
        return self.tokenizer.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def count(self, batch: Any, accuracy: Accuracy, *, synchronise: bool = False) -> int:
        """Count right answers (a verifier's score of 1), and return the number of all answers."""
        examples = examples_of(batch)
        for example, answer in zip(examples, self.answer(examples, synchronise=synchronise), strict=True):
            accuracy.update(self.verifier(answer, example) >= 1)
        return len(examples)

    def predict(self, batch: Any, *, synchronise: bool = False) -> list[dict[str, Any]]:
        """Return the batch's prompts with their answers."""
        examples = examples_of(batch)
        return [
            {"prompt": example["prompt"], "response": response, "answer": example.get("answer")}
            for example, response in zip(examples, self.answer(examples, synchronise=synchronise), strict=True)
        ]

    def gather(self) -> None:
        """Gather the policy's weights once for all batches, since processes may have different numbers of batches."""
        self._gathered.enter_context(gathered(self.policy))

    def let_go(self) -> None:
        """Undo :meth:`gather`."""
        self._gathered.close()
