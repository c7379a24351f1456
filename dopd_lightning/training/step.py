"""Training step of one batch: prompts, responses, scores, loss, record."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.data import Example, PromptFormat
from dopd_lightning.distributed.processes import average_, failing_together
from dopd_lightning.distributed.sharding import let_go
from dopd_lightning.errors import DataError, EngineError
from dopd_lightning.fusion import Thresholds
from dopd_lightning.inputs import EncodedPrompt
from dopd_lightning.policies import evaluating
from dopd_lightning.record import TokenRecord
from dopd_lightning.rollout import Response, Rollout, RolloutRequest, Rollouts, as_responses
from dopd_lightning.rollout.ends import Ends
from dopd_lightning.sources import OnePolicy, RewardSource, Source, policies_of
from dopd_lightning.training.objective import Objective, Wanted
from dopd_lightning.training.prompting import Prompting
from dopd_lightning.training.response_writer import ResponseWriter


class Step:
    """Compute loss and record of a batch: write responses, score them, apply the fusion rule.

    Args:
        sources: by name.
        rollout: decides who writes responses.
        prompting: encodes prompts.
        writing: generates responses of the student, or of a source that is one policy.
        objective: scores responses and applies the fusion rule.
        ends: tokens that end a response.
        prompt_format: renders completions that are chats.
        tokenizer: the student's.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        rollout: Rollout,
        prompting: Prompting,
        writing: ResponseWriter,
        objective: Objective,
        ends: Ends,
        prompt_format: PromptFormat,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        self.sources, self.rollout, self.ends = sources, rollout, ends
        self.prompt_format, self.tokenizer = prompt_format, tokenizer
        self.prompting, self.writing, self.objective = prompting, writing, objective
        self.student, self.fusion = writing.student, objective.fusion
        self.used = {name: source for name, source in sources.items() if name in self.fusion.needs}

    def __call__(
        self, examples: Sequence[Example], details: tuple[int, int | None] | None = None, *, synchronise: bool = False
    ) -> tuple[Tensor, TokenRecord]:
        """Return the loss, a scalar with the student's graph, and the detached record. All processes call it.

        Args:
            examples: the batch.
            details: number of likeliest tokens and of prompts (all if None) whose details the record holds.
            synchronise: push the student's weights to the engine even if no change was announced.

        Raises:
            DataError: naming an example that a policy or a source cannot read.
            EngineError: if the engine fails.
        """
        with failing_together((DataError,), self.student.device):
            prompts = self.encode(examples)
        began = time.perf_counter()
        with failing_together((DataError, EngineError), self.student.device):
            written = self._roll_out(examples, prompts, synchronise)
        seconds = time.perf_counter() - began
        loss, record = self._supervise(examples, prompts, written, details)
        if isinstance(self.fusion, nn.Module):
            with torch.no_grad():
                average_([*self.fusion.parameters(), *self.fusion.buffers()])
        return loss, replace(record, rollout_seconds=seconds)

    @torch.no_grad()
    def observe(
        self,
        examples: Sequence[Example],
        alternatives: int,
        thresholds: Thresholds | None,
        *,
        synchronise: bool = False,
    ) -> TokenRecord:
        """Return the record of one response of the student to each example, and leave all states unchanged.

        Args:
            examples: as in a batch.
            alternatives: number of likeliest tokens in the details.
            thresholds: thresholds for a rule that routes, instead of those of these responses.
            synchronise: push the student's weights to the engine even if no change was announced.
        """
        before = copy.deepcopy(self.fusion.state_dict()) if isinstance(self.fusion, nn.Module) else None
        with evaluating(self.student), self.prompting.aside():
            prompts = self.encode(examples)
            self.writing.synchronise(always=synchronise)
            written = self.writing(self.student, "student", prompts["student"], self.rollout.sampling)
            _, record = self._supervise(examples, prompts, as_responses(written), (alternatives, None), thresholds)
        if before is not None:  # the rule may have updated running means
            cast(nn.Module, self.fusion).load_state_dict(before)
        let_go(self.student)
        return record

    def encode(self, examples: Sequence[Example]) -> dict[str, list[EncodedPrompt]]:
        """Encode each example's prompt as the student and each source see it.

        Raises:
            DataError: naming an example that a policy or a source cannot read.
        """
        self.check(examples)
        return self.prompting.of_all(examples)

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse examples that a source of the fusion rule cannot score.

        Raises:
            DataError: naming the example.
        """
        for name in self.fusion.needs:
            self.sources[name].check(examples)

    def _roll_out(
        self, examples: Sequence[Example], prompts: Mapping[str, Sequence[EncodedPrompt]], synchronise: bool
    ) -> list[Response]:
        policies = {name: self._policy(name) for name in sorted(self.rollout.writers)}
        request = RolloutRequest(
            write=lambda name, sampling, each: self.writing(policies[name], name, prompts[name], sampling, each),
            completions=[self._completion(example) for example in examples],
            completion_ends=[self.ends.behind(example) for example in examples],
            tokenizer=self.tokenizer,
            eos_ids=self.ends.ids,
        )
        if "student" in policies:
            self.writing.synchronise(always=synchronise)
        for name, policy in policies.items():  # in all processes, even if the batch's rollout does not use it
            self.writing.try_out(policy, name)
        with evaluating(self.student):
            return as_responses(self.rollout(request))

    def _policy(self, name: str) -> PreTrainedModel:
        if name == "student":
            return self.student
        source = self.sources[name]
        assert isinstance(source, OnePolicy), "checked by check_writers"
        return source.policy(self.student)

    def _completion(self, example: Example) -> str | Response | None:
        turns = self.prompt_format.turns(example, self.tokenizer, self.ends.ids)
        return Response(*turns) if turns is not None else cast(str | None, example.get("completion"))

    def _supervise(
        self,
        examples: Sequence[Example],
        prompts: Mapping[str, Sequence[EncodedPrompt]],
        written: Sequence[Response],
        details: tuple[int, int | None] | None,
        thresholds: Thresholds | None = None,
    ) -> tuple[Tensor, TokenRecord]:
        """Return loss and record of responses; each example has equally many, next to each other."""
        policies = {"student": self.student, **policies_of(self.used, self.student)}
        for name, policy in policies.items():
            self.writing.probes.try_scoring(name, policy)
        device = self.student.device
        reads_text = any(isinstance(source, RewardSource) for source in self.used.values())
        decode = partial(self.tokenizer.batch_decode, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        rollouts = Rollouts.of(
            examples, written, self.writing.pad_id, self.ends.ids, device, decode if reads_text else None
        )
        groups = rollouts.group.tolist()
        views = {
            name: self.prompting.encoder.view([prompts[name][group] for group in groups], rollouts.responses)
            for name in ("student", *self.used)
        }
        wanted = None if details is None else Wanted(rollouts.firsts[: details[1]], details[0])
        loss, record = self.objective(self.student, self.used, views, rollouts, wanted, thresholds)
        for policy in policies.values():
            if policy is not self.student:  # its backward pass is still to come
                let_go(policy)
        return loss, record
