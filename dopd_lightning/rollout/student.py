"""Responses of the student."""

from __future__ import annotations

from dataclasses import dataclass, field

from dopd_lightning.rollout.interface import RolloutRequest
from dopd_lightning.rollout.sampling_rollout import Generated


@dataclass(frozen=True, kw_only=True)
class StudentRollout(Generated):
    """On-policy rollout, the paper's and the default: the bare student answers, ``y ~ Π_S(·|x)``.

    Example:
        >>> StudentRollout(samples_per_prompt=8, max_new_tokens=64).student_writes
        True
    """

    writers: frozenset[str] = field(default=frozenset({"student"}), init=False)
    student_writes: bool = field(default=True, init=False)

    def __call__(self, request: RolloutRequest) -> list[list[int]]:
        return self._by("student", request)
