"""The kinds of privileged information that the paper compares (Table 4), as a model writes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Kind of hint: the content that it may have.

    Attributes:
        name: as in :data:`~dopd_lightning.data.tasks.HINT_KINDS`.
        gives_away_answer: whether the final answer may stand in it.
        executes: whether calculations may be carried out.
        max_words: how long it is at most.
        written: whether a model writes it.
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
