"""Where responses come from: the student (on-policy), the teacher, the data, or a mixture."""

from dopd_lightning.rollout.generation import Sampling, generate
from dopd_lightning.rollout.source import (
    DatasetRollout,
    MixedRollout,
    Rollout,
    RolloutRequest,
    StudentRollout,
    TeacherRollout,
)

__all__ = [
    "DatasetRollout",
    "MixedRollout",
    "Rollout",
    "RolloutRequest",
    "Sampling",
    "StudentRollout",
    "TeacherRollout",
    "generate",
]
