"""Additions to a reasoning-gym generator: worked solutions, and hints of every kind that the paper compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Entry = Mapping[str, Any]
"""One item of a reasoning-gym dataset: ``question``, ``answer`` and ``metadata``."""

HINT_KINDS = ("answer", "steps_executed", "steps", "summary", "none")
"""The kinds of privileged information of the paper's Table 4, from the one that gives most away to nothing at all."""

GENERAL_HINT_KINDS = ("answer", "none")
"""The kinds that need no writing of ours, so that every reasoning-gym dataset has them."""


@dataclass(frozen=True)
class Task:
    """Our own writing around one reasoning-gym dataset.

    Args:
        name: name under which reasoning-gym registers the generator and its scorer.
        solution: entry -> worked solution, ending with ``<answer>…</answer>``.
        steps_executed: entry -> the steps with their results (gives the final answer away).
        steps: entry -> the steps without any result that the question does not already contain.
        summary: entry -> one sentence on how to go about it, without numbers that have to be computed.
    """

    name: str
    solution: Callable[[Entry], str]
    steps_executed: Callable[[Entry], str]
    steps: Callable[[Entry], str]
    summary: Callable[[Entry], str]

    def hint(self, entry: Entry, kind: str) -> str | None:
        """Privileged text of the given kind (see :data:`HINT_KINDS`), or ``None`` for ``"none"``."""
        if kind in GENERAL_HINT_KINDS:
            return general_hint(entry, kind)
        text: str = getattr(self, kind)(entry)
        return text


def general_hint(entry: Entry, kind: str) -> str | None:
    """Privileged text of a kind that any entry can have (see :data:`GENERAL_HINT_KINDS`).

    Example:
        >>> general_hint({"question": "1 + 1?", "answer": "2", "metadata": {}}, "answer")
        'The final answer is 2.'
    """
    return None if kind == "none" else f"The final answer is {entry['answer']}."


def final_answer(answer: object) -> str:
    """The line that ends every worked solution, in the tags that reasoning-gym's extractor looks for."""
    return f"<answer>{answer}</answer>"
