"""Column of the data, as a source of rewards."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from dopd_lightning.data import Example
from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.sources.source import RewardSource, ScoringRequest


class Column(RewardSource):
    """Source of rewards from a column of the data, such as the teacher's share of right answers to the prompt.

    All responses to an example have the same reward.

    Args:
        column: name of the column. Its values are numbers, true or false, or null if unknown.

    Raises:
        ConfigError: if the name is not text.

    Example:
        >>> Column("teacher_right").value_of({"prompt": "1 + 1 = ?", "teacher_right": True})
        1.0
    """

    def __init__(self, column: str) -> None:
        super().__init__()
        if not isinstance(column, str) or not column:
            raise ConfigError(f"column: {column!r} must be the name of a column")
        self.column = column

    def value_of(self, example: Example) -> float:
        """Return the reward of an example; NaN if it is null.

        Raises:
            DataError: if the column is missing, or the value is not a finite number.
        """
        value = example.get(self.column, "missing")
        if value is None:
            return math.nan
        if isinstance(value, str) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(
                f"{self.column}: {value!r}, of the prompt {str(example['prompt'])[:60]!r}, must be a number, true, "
                "false or null"
            )
        return float(value)

    def check(self, examples: Sequence[Example]) -> None:
        for example in examples:
            self.value_of(example)

    def rewards(self, student: PreTrainedModel, request: ScoringRequest) -> Tensor:
        values = [self.value_of(example) for example in request.rollouts.examples]
        return torch.tensor(values, device=request.rollouts.ended.device)
