"""Moving average of the student, as a source."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from dopd_lightning.errors import check_range
from dopd_lightning.sources.snapshot import Snapshot


class Ema(Snapshot):
    """Exponential moving average of the student's weights, which starts from the initial student.

    After each optimizer step, ``average = decay * average + (1 - decay) * student``. Weights that the student does not
    train are shared with it.

    Args:
        decay: factor of the old average, from 0 to 1.
        shown: probability, for each example, that the source sees privileged text.

    Raises:
        ConfigError: for a number outside [0, 1].

    Example:
        >>> student = torch.nn.Linear(2, 1, bias=False)  # in place of a language model
        >>> _ = student.weight.data.fill_(1.0)
        >>> source = Ema(decay=0.75)
        >>> source.attach(student)
        >>> _ = student.weight.data.fill_(5.0)
        >>> source.update(student)
        >>> source.policy(student).weight.tolist()  # 0.75 * 1 + 0.25 * 5
        [[2.0, 2.0]]
    """

    def __init__(self, decay: float = 0.99, shown: float | None = None) -> None:
        super().__init__(shown)
        self.decay = check_range("decay", decay, at_least=0, at_most=1)

    def attach(self, student: PreTrainedModel) -> None:
        super().attach(student)
        named = student.named_parameters(remove_duplicate=False)
        self._frozen = {f"weights.{name}" for name, weight in named if not weight.requires_grad}

    def saves(self, name: str) -> bool:
        return name not in self._frozen

    @torch.no_grad()
    def update(self, student: PreTrainedModel) -> None:
        torch._foreach_lerp_(list(self.averages), self._moving(student), 1 - self.decay)

    @property
    def averages(self) -> Sequence[Tensor]:
        return [] if self.weights is None else self._moving(self.weights)

    def _moving(self, policy: PreTrainedModel) -> list[Tensor]:
        return [weight for weight, learns in zip(policy.parameters(), self._learns, strict=True) if learns]
