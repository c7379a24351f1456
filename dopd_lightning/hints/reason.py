"""Reasons for rejecting a hint."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dopd_lightning.data import Example


class Reason(NamedTuple):
    """Reason for rejecting a hint.

    Attributes:
        name: identifier, such as ``answer_leaked``.
        sentence: explanation, with the text that was found.

    Example:
        >>> from dopd_lightning.hints.leaks import answer_leaked
        >>> answer_leaked("Add both, which makes 46.", {"prompt": "12 + 34 = ?", "answer": 46})
        Reason(name='answer_leaked', sentence="it contains the final answer, '46'")
    """

    name: str
    sentence: str


Check = Callable[[str, Example], Reason | None]
"""``(hint, example)`` -> reason to reject the hint; ``None`` if there is none or the check cannot decide."""
