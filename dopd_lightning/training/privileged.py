"""Access of policies to privileged text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dopd_lightning.errors import check_range


@dataclass(frozen=True, kw_only=True)
class PrivilegedAccess:
    """Probability, for each example, that a policy sees privileged text.

    In the paper, both sources always see it and the student never does. Other values give the paper's ablations
    (Fig. 3, Table 8), or a student that sees some of the privileged texts, for training on completions.

    Attributes:
        student: probability for the student in training.
        teacher: probability for the teacher in training.
        reference: probability for the reference in training.
        evaluation: show privileged text to the evaluated policy, to measure its effect.

    Raises:
        ConfigError: for a probability outside [0, 1].

    Example:
        >>> PrivilegedAccess(student=0.5)
        PrivilegedAccess(student=0.5, teacher=1.0, reference=1.0, evaluation=False)
    """

    student: float = 0.0
    teacher: float = 1.0
    reference: float = 1.0
    evaluation: bool = False

    def __post_init__(self) -> None:
        for role in ("student", "teacher", "reference"):
            check_range(f"privileged.{role}", getattr(self, role), at_least=0, at_most=1)

    def shown(self, sources: Mapping[str, float | None]) -> dict[str, float]:
        """Return the probability that each policy sees privileged text: the student, teacher, reference, then others.

        Args:
            sources: ``shown`` of each source by name; those of ``teacher`` and ``reference`` are not used.

        Example:
            >>> PrivilegedAccess(reference=0.5).shown({"teacher": None, "maths": None, "code": 0.0})
            {'student': 0.0, 'teacher': 1.0, 'reference': 0.5, 'maths': 1.0, 'code': 0.0}
        """
        found = {name: float(getattr(self, name)) for name in ("student", "teacher", "reference")}
        return found | {name: 1.0 if own is None else own for name, own in sources.items() if name not in found}
