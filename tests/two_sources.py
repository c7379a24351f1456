"""Two sources by name, as most tests have them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dopd_lightning.divergence import Pool
from dopd_lightning.fusion import TokenStatistics


def two(teacher: Any, reference: Any = None) -> dict[str, Any]:
    """A teacher and a reference, as far as given."""
    given = {"teacher": teacher, "reference": reference}
    return {name: each for name, each in given.items() if each is not None}


def pool_of_two(teacher_weight: float | Tensor, geometric: bool = False) -> Pool:
    """Pool teacher and reference."""
    return Pool({"teacher": teacher_weight, "reference": 1 - teacher_weight}, geometric)


def statistics_of(
    student: Tensor, teacher: Any, reference: Any, ids: Tensor, mask: Tensor, **rest: Any
) -> TokenStatistics:
    """Statistics of logits."""
    return TokenStatistics.from_logits(student, two(teacher, reference), ids, mask, **rest)
