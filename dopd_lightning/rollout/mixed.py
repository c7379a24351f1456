"""Responses of the student, or others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dopd_lightning.distributed.processes import first_process
from dopd_lightning.errors import check_choice, check_range
from dopd_lightning.rollout.dataset import DatasetRollout
from dopd_lightning.rollout.interface import RolloutRequest
from dopd_lightning.rollout.response import Response
from dopd_lightning.rollout.sampling_rollout import Generated


@dataclass(frozen=True, kw_only=True)
class MixedRollout(Generated):
    """Each batch is on-policy with some probability, else off-policy (GKD, Agarwal et al., 2306.13649).

    Args:
        on_policy: the probability that the student answers.
        off_policy: who does otherwise: ``dataset`` or ``teacher``.

    Example:
        >>> sorted(MixedRollout(on_policy=0.5, off_policy="teacher").writers)
        ['student', 'teacher']
    """

    on_policy: float = 0.5
    off_policy: str = "dataset"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("rollout.on_policy", self.on_policy, at_least=0, at_most=1)
        check_choice("rollout.off_policy", self.off_policy, ("dataset", "teacher"))

    @property
    def writers(self) -> frozenset[str]:
        student = {"student"} if self.on_policy > 0 else set()
        return frozenset(student | ({"teacher"} if self.off_policy == "teacher" else set()))

    @property
    def student_writes(self) -> bool:
        return self.on_policy == 1

    def __call__(self, request: RolloutRequest) -> Sequence[list[int] | Response]:
        coin = first_process(torch.rand(()).item())  # a batch is all processes' together, and so is its kind
        if coin < self.on_policy:
            return self._by("student", request)
        if self.off_policy == "teacher":
            return self._by("teacher", request)
        static = DatasetRollout(max_new_tokens=self.max_new_tokens)(request)
        return [response for response in static for _ in range(self.samples_per_prompt)]
