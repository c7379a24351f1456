"""Kinds of hints that the paper compares (Table 4)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Kind of hint, with the content that it may have.

    Attributes:
        name: name, as in :data:`~dopd_lightning.data.tasks.HINT_KINDS`.
        gives_away_answer: whether it may contain the final answer.
        executes: whether it may contain results of calculations.
        max_words: limit on the number of words.
        written: whether a model writes it.

    Example:
        >>> from dopd_lightning.hints import KINDS
        >>> KINDS["steps"]
        Kind(name='steps', gives_away_answer=False, executes=False, max_words=200, written=True)
    """

    name: str
    gives_away_answer: bool
    executes: bool
    max_words: int = 0
    written: bool = True


KINDS = {
    kind.name: kind
    for kind in (
        Kind("answer", gives_away_answer=True, executes=True, written=False),
        Kind("steps_executed", gives_away_answer=True, executes=True, max_words=300),
        Kind("steps", gives_away_answer=False, executes=False, max_words=200),
        Kind("summary", gives_away_answer=False, executes=False, max_words=60),
        Kind("none", gives_away_answer=False, executes=False, written=False),
    )
}
"""Kinds of hints by name."""
