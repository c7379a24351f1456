"""Reasons for rejecting a hint."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dopd_lightning.data import Example


class Reason(NamedTuple):
    """Reason for rejecting a hint.

    Attributes:
        name: for machines, such as ``answer_leaked``.
        sentence: for people, with what was found.
    """

    name: str
    sentence: str


Check = Callable[[str, Example], Reason | None]
"""``(hint, example)`` to what is wrong with it, or ``None``. Where a check cannot tell, it says nothing."""
