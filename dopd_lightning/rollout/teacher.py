"""Responses of the teacher."""

from __future__ import annotations

from dataclasses import dataclass, field

from dopd_lightning.rollout.interface import RolloutRequest
from dopd_lightning.rollout.sampling_rollout import Generated


@dataclass(frozen=True, kw_only=True)
class TeacherRollout(Generated):
    """The teacher answers, under what it is shown: sequence-level distillation (Kim & Rush, 2016).

    Example:
        >>> TeacherRollout().writers
        frozenset({'teacher'})
    """

    writers: frozenset[str] = field(default=frozenset({"teacher"}), init=False)
    student_writes: bool = field(default=False, init=False)

    def __call__(self, request: RolloutRequest) -> list[list[int]]:
        return self._by("teacher", request)
