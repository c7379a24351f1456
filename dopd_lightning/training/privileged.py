"""Who sees privileged text."""

from __future__ import annotations

from dataclasses import dataclass

from dopd_lightning.errors import check_range


@dataclass(frozen=True, kw_only=True)
class PrivilegedAccess:
    """Which policy sees privileged text: the probability, for each example, that it does.

    The paper's method shows it to both sources and never to the student. Other values are its ablations (Fig. 3,
    Table 8), and training on completions with the student shown some of the hints.

    Attributes:
        student: while it learns.
        teacher: while it teaches.
        reference: while it teaches.
        evaluation: whether whoever is evaluated sees it, to tell what privileged text is worth to a policy.
    """

    student: float = 0.0
    teacher: float = 1.0
    reference: float = 1.0
    evaluation: bool = False

    def __post_init__(self) -> None:
        for role in ("student", "teacher", "reference"):
            check_range(f"privileged.{role}", getattr(self, role), at_least=0, at_most=1)
