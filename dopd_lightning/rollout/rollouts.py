"""Responses to a batch of examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dopd_lightning.data import Example
from dopd_lightning.rollout.response import Response
from dopd_lightning.scores import Responses


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Responses to a batch of examples, as sources read them.

    Attributes:
        examples: example of each response, ``batch`` of them.
        group: ``(batch,)``, index of the example in its batch, shared by the responses to one prompt.
        responses: ``(batch, response)``, tokens and masks.
        logps: ``(batch, response)``, log-probability of each token under the policy that wrote it, in nats, 0 where
            masked; None if unknown.
    """

    examples: Sequence[Example]
    group: Tensor
    responses: Responses
    logps: Tensor | None = None

    @classmethod
    def of(
        cls, examples: Sequence[Example], written: Sequence[Response], pad_id: int, device: torch.device
    ) -> Rollouts:
        """Pad the responses of a rollout: equally many to each example, next to each other."""
        each = len(written) // len(examples) if examples else 1
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
            logps,
        )

    @property
    def firsts(self) -> list[int]:
        """Row of the first response to each example."""
        groups = self.group.tolist()
        return [row for row, group in enumerate(groups) if row == 0 or groups[row - 1] != group]

    def of_rows(self, rows: Tensor) -> Rollouts:
        """Select some rows ``(n,)`` of the batch."""
        logps = None if self.logps is None else self.logps[rows]
        examples = [self.examples[row] for row in rows.tolist()]
        return Rollouts(examples, self.group[rows], self.responses.of_rows(rows), logps)
