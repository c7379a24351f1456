"""Responses to a batch of examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dopd_lightning.data import Example
from dopd_lightning.scores import Responses


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Responses to a batch of examples, as sources read them.

    Attributes:
        examples: what each response answers, ``batch`` of them.
        group: ``(batch,)``, the number of the example in its batch: responses to one prompt have the same.
        responses: ``(batch, response)``.
    """

    examples: Sequence[Example]
    group: Tensor
    responses: Responses

    def of_rows(self, rows: Tensor) -> Rollouts:
        """Those of some rows ``(n,)`` of the batch."""
        return Rollouts([self.examples[row] for row in rows.tolist()], self.group[rows], self.responses.of_rows(rows))
