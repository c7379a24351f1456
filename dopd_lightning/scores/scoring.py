"""Scores from policies and views."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import torch
from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedModel

from dopd_lightning.distributed.sharding import gathered
from dopd_lightning.inputs.response_mask import Responses
from dopd_lightning.inputs.views import View
from dopd_lightning.policies import evaluating
from dopd_lightning.scores.by_logits import LogitScores
from dopd_lightning.scores.by_states import StateScores
from dopd_lightning.scores.forward import response_logits, response_states
from dopd_lightning.scores.output_head import head_of, is_read_right
from dopd_lightning.scores.scores import Scores


class Scoring:
    """Score responses under a policy, from hidden states and head, or from logits if some policy's head cannot be read.

    Args:
        vocabulary_size: number of real tokens.
        temperature: of the loss.
        memory: MiB for logits computed from hidden states, at once.
    """

    def __init__(self, vocabulary_size: int, temperature: float, memory: float) -> None:
        self.vocabulary_size = vocabulary_size
        self.temperature = temperature
        self.memory = memory
        self._by_states: bool | None = None

    def __call__(
        self, policy: PreTrainedModel, view: View, responses: Responses, top_k: int = 0, *, learns: bool = False
    ) -> Scores:
        """Return the scores of a policy; call :meth:`try_heads` before.

        Args:
            policy: one of those given to :meth:`try_heads`.
            view: its input.
            responses: ``(batch, response)``.
            top_k: number of its likeliest tokens to keep.
            learns: keep the autograd graph.
        """
        with nullcontext() if learns else torch.no_grad(), nullcontext() if learns else evaluating(policy):
            if not self._by_states:
                logits = response_logits(policy, view, self.vocabulary_size)
                return LogitScores(logits, responses.ids, responses.own, temperature=self.temperature)
            states = response_states(policy, view)
            head = head_of(policy, self.vocabulary_size)  # a sharded policy's head is whole only after the forward pass
            assert head is not None
            return StateScores(
                states,
                head,
                responses.ids,
                responses.own,
                top_k=top_k,
                temperature=self.temperature,
                memory=self.memory,
            )

    def try_heads(self, policies: Mapping[str, PreTrainedModel]) -> None:
        """Try each policy's head, once; if one cannot be read, warn and score all policies from logits."""
        if self._by_states is None:
            self._by_states = self._can_read_heads(policies)

    def _can_read_heads(self, policies: Mapping[str, PreTrainedModel]) -> bool:
        for name, policy in policies.items():
            with evaluating(policy), gathered(policy):
                head = head_of(policy, self.vocabulary_size)
                if head is None or not is_read_right(head, policy):
                    rank_zero_warn(
                        f"the {name}'s output head is more than a linear layer with a known scale or softcap "
                        "(an adapter, say): the loss is computed from whole logits, which is right, but takes more "
                        "memory and time"
                    )
                    return False
        return True
