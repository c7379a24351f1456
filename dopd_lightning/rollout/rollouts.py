"""Responses to a batch of examples."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dopd_lightning.data import Example
from dopd_lightning.inputs import Responses
from dopd_lightning.rollout.response import Response


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Responses to a batch of examples, as sources read them.

    Attributes:
        examples: example of each response, ``batch`` of them.
        group: ``(batch,)``, index of the example in its batch, shared by the responses to one prompt.
        responses: ``(batch, response)``, tokens and masks.
        logps: ``(batch, response)``, log-probability of each token under the policy that wrote it, in nats, 0 where
            masked; None if unknown.
        ended: ``(batch,)``, true if the response ends with an end-of-sequence token; else it was cut, or is empty.
        texts: the responses as text, without special tokens; None if no source reads them.
    """

    examples: Sequence[Example]
    group: Tensor
    responses: Responses
    ended: Tensor
    logps: Tensor | None = None
    texts: Sequence[str] | None = None

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        written: Sequence[Response],
        pad_id: int,
        end_ids: Collection[int],
        device: torch.device,
        decode: Callable[[list[list[int]]], list[str]] | None = None,
    ) -> Rollouts:
        """Pad the responses of a rollout: equally many to each example, next to each other.

        Args:
            examples: the batch.
            written: its responses.
            pad_id: padding token.
            end_ids: tokens that end a response.
            device: of the tensors.
            decode: token ids of responses -> texts; not given if no source reads texts.
        """
        each, ends = len(written) // len(examples) if examples else 1, {*end_ids}
        responses = Responses.from_lists([one.ids for one in written], pad_id, [one.own for one in written]).to(device)
        logps = None
        if written and all(one.logps is not None for one in written):
            logps = torch.zeros(responses.ids.shape, device=device)
            values = [value for one in written for value in one.logps or ()]
            logps[responses.mask] = torch.tensor(values, device=device)
        return cls(
            [example for example in examples for _ in range(each)],
            torch.arange(len(examples), device=device).repeat_interleave(each),
            responses,
            torch.tensor([bool({*one.ids[-1:]} & ends) for one in written], dtype=torch.bool, device=device),
            logps,
            None if decode is None else [] if not written else decode([one.ids for one in written]),
        )

    @property
    def firsts(self) -> list[int]:
        """Row of the first response to each example."""
        groups = self.group.tolist()
        return [row for row, group in enumerate(groups) if row == 0 or groups[row - 1] != group]

    def of_rows(self, rows: Tensor) -> Rollouts:
        """Select some rows ``(n,)`` of the batch."""
        logps = None if self.logps is None else self.logps[rows]
        numbers = rows.tolist()
        examples = [self.examples[row] for row in numbers]
        texts = None if self.texts is None else [self.texts[row] for row in numbers]
        responses = self.responses.of_rows(rows)
        return Rollouts(examples, self.group[rows], responses, self.ended[rows], logps, texts)
