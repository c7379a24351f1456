"""How a policy answers prompts, and how right it is: the part of ``DOPDModule`` that evaluates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import lightning as L
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.data import Example, Verifier, examples_of
from dopd_lightning.distributed.sharding import gathered
from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import evaluating
from dopd_lightning.record.metrics import Accuracy
from dopd_lightning.record.names import accuracy_name
from dopd_lightning.rollout import Engine, Rollout, Sampling, TransformersEngine
from dopd_lightning.scores import Encoder
from dopd_lightning.sources import OnePolicy
from dopd_lightning.training.privileged import PrivilegedAccess
from dopd_lightning.training.readings import Readings


class Evaluation(L.LightningModule):
    """Validation, testing and prediction; what it reads of the module is declared here."""

    student: PreTrainedModel
    sources: nn.ModuleDict
    rollout: Rollout
    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    encoder: Encoder
    eos_ids: list[int]
    pad_id: int
    vocabulary_size: int
    verifier: Verifier
    privileged: PrivilegedAccess
    _engine_is_behind: bool
    _readings: Readings

    def __init__(self) -> None:
        super().__init__()
        self.accuracies = nn.ModuleDict()  # one a dataloader, made when it comes up
        self._answering = "student"
        self._gathered = ExitStack()

    def answer(self, examples: Sequence[Example]) -> list[str]:
        """Greedy answers by the student or, inside :meth:`answering_as`, by another policy.

        Prompts are bare, unless ``privileged.evaluation`` says otherwise.
        """
        policy = self._answerer()
        prompts = [self.encoder.prompt(example, privileged=self.privileged.evaluation) for example in examples]
        greedy = Sampling(max_new_tokens=self.rollout.sampling.max_new_tokens, temperature=0)
        if policy is self.student:
            self._synchronise()
        with evaluating(policy):
            written = self._write(policy, prompts, greedy)
        return self.tokenizer.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _write(self, policy: PreTrainedModel, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        """One response of the policy to each prompt, in eval mode; the student's by its engine."""
        engine: Engine = self.engine if policy is self.student else TransformersEngine()
        if isinstance(engine, TransformersEngine):
            self._readings.try_writing(self._answering if policy is not self.student else "student", policy)
        return engine.generate(
            policy,
            prompts,
            sampling,
            eos_ids=self.eos_ids,
            pad_id=self.pad_id,
            vocabulary_size=self.vocabulary_size,
        ).ids

    def _answerer(self) -> PreTrainedModel:
        if self._answering == "student":
            return self.student
        return cast(OnePolicy, self.sources[self._answering]).policy(self.student)

    def _gather(self) -> None:
        """For all batches of an evaluation: one process may have one more of them than another."""
        self._gathered.enter_context(gathered(self._answerer()))

    def _let_go(self) -> None:
        self._gathered.close()

    on_validation_epoch_start = on_test_epoch_start = on_predict_epoch_start = _gather
    on_validation_epoch_end = on_test_epoch_end = on_predict_epoch_end = _let_go

    @contextmanager
    def answering_as(self, role: str) -> Iterator[None]:
        """Inside, validation and testing are of this policy: ``student``, or a source that is one policy."""
        if role != "student":
            if role not in self.sources:
                raise ConfigError(f"the {role} is to answer, but there is no {role}")
            if not isinstance(self.sources[role], OnePolicy):
                raise ConfigError(
                    f"the {role} is to answer, but it is made of several policies, and only one can write"
                )
        before, self._answering = self._answering, role
        try:
            yield
        finally:
            self._answering = before

    def on_validation_start(self) -> None:
        """Synchronise in all processes at once: one of them may have no batch to answer."""
        if self._answering == "student":
            self._synchronise()

    on_test_start = on_validation_start
    on_predict_start = on_validation_start

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch, "val", dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch, "test", dataloader_idx)

    def _evaluate(self, batch: Any, stage: str, dataloader_idx: int) -> None:
        """Log ``<stage>/accuracy``, the share of answers that the verifier gives its full score of 1.

        With several dataloaders, Lightning adds the number of each to the name.
        """
        examples = examples_of(batch)
        key = f"{stage}_{dataloader_idx}"
        if key not in self.accuracies:
            self.accuracies[key] = Accuracy().to(self.device)
        accuracy = cast(Accuracy, self.accuracies[key])
        for example, answer in zip(examples, self.answer(examples), strict=True):
            accuracy.update(self.verifier(answer, example) >= 1)
        self.log(
            accuracy_name(stage),
            accuracy,
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=len(examples),
            metric_attribute=f"accuracies.{key}",
        )

    def predict_step(self, batch: Any, batch_idx: int) -> list[dict[str, Any]]:
        """The batch's prompts with the student's answers."""
        examples = examples_of(batch)
        return [
            {"prompt": example["prompt"], "response": response, "answer": example.get("answer")}
            for example, response in zip(examples, self.answer(examples), strict=True)
        ]

    def _synchronise(self) -> None:
        """Let the engine have the student's present weights, once after each change: not before each micro-batch.

        In a bare loop, nobody says when the student changes: then each time.
        """
        if self._engine_is_behind or self._trainer is None:
            with evaluating(self.student):
                self.engine.synchronise(self.student)
            self._engine_is_behind = False
