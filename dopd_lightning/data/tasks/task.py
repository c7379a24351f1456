"""Worked solutions, and hints of every kind that the paper compares, for a reasoning-gym dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Entry = Mapping[str, Any]
"""One item of a reasoning-gym dataset: ``question``, ``answer`` and ``metadata``."""

HINT_KINDS = ("answer", "steps_executed", "steps", "summary", "none")
"""Kinds of privileged text in the paper's Table 4, in order from most to least information."""

GENERAL_HINT_KINDS = ("answer", "none")
"""Kinds of hints that every reasoning-gym dataset has, since they need only the final answer or nothing."""


@dataclass(frozen=True)
class Task:
    """Functions that write a worked solution and hints for an entry of one reasoning-gym dataset.

    Args:
        name: name of the dataset in reasoning-gym.
        solution: entry -> worked solution, ending with ``<answer>…</answer>``.
        steps_executed: entry -> steps with their results, including the final answer.
        steps: entry -> steps without any result that the question does not contain.
        summary: entry -> one sentence on the method, without numbers that have to be computed.

    Example:
        >>> from dopd_lightning.data.tasks import TASKS
        >>> entry = {"question": "12 + 34 - 5 =", "answer": "41", "metadata": {"expression": "12 + 34 - 5"}}
        >>> TASKS["chain_sum"].hint(entry, "steps")
        'Step 1: start with 12 and add 34. Step 2: subtract 5.'
        >>> TASKS["chain_sum"].hint(entry, "steps_executed")
        'Step 1: 12 + 34 = 46. Step 2: 46 - 5 = 41.'
    """

    name: str
    solution: Callable[[Entry], str]
    steps_executed: Callable[[Entry], str]
    steps: Callable[[Entry], str]
    summary: Callable[[Entry], str]

    def hint(self, entry: Entry, kind: str) -> str | None:
        """Return privileged text of a kind in :data:`HINT_KINDS`; ``None`` for the kind ``none``."""
        if kind in GENERAL_HINT_KINDS:
            return general_hint(entry, kind)
        text: str = getattr(self, kind)(entry)
        return text


def general_hint(entry: Entry, kind: str) -> str | None:
    """Return privileged text of a kind in :data:`GENERAL_HINT_KINDS`; ``None`` for the kind ``none``.

    Example:
        >>> general_hint({"question": "1 + 1?", "answer": "2", "metadata": {}}, "answer")
        'The final answer is 2.'
    """
    return None if kind == "none" else f"The final answer is {entry['answer']}."


def final_answer(answer: object) -> str:
    """Return the last line of a worked solution, in the tags that reasoning-gym's extractor reads."""
    return f"<answer>{answer}</answer>"
