"""Numbers that are known of a token: their names, and the words that tables, pictures and pages have for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STUDENT = "student"

PAIR = ("teacher", "reference")
"""The paper's sources, which have symbols and words of their own."""


@dataclass(frozen=True)
class Quantity:
    """A number that is known of a token, or that a page works out.

    Attributes:
        name: in files, tables and pages; of one that is a policy's, ``<policy>_<kind>``.
        kind: ``gap``, ``probability``, ``divergence``, ``loss``, ``loss_share`` or ``entropy``.
        meaning: in words.
        label: in the record of a token.
        colouring: in the list of colours.
        policy: whose, if it is of one.
    """

    name: str
    kind: str
    meaning: str
    label: str
    colouring: str
    policy: str = ""


LOSS_SHARE = Quantity(
    "loss_share",
    "loss_share",
    "the token’s loss, of the sum over its response",
    "Share of the response’s loss",
    "Share of the response’s loss",
)
"""Worked out by the page, and kept nowhere."""


def quantities_of(sources: Sequence[str]) -> list[Quantity]:
    """All that may be known of a token beside these sources, in the order of files and tables.

    Example:
        >>> [quantity.name for quantity in quantities_of(["maths"])][:4]
        ['gap', 'student_probability', 'maths_probability', 'maths_divergence']
    """
    policies = (STUDENT, *sources)
    return [
        _gap(sources),
        *map(_probability, policies),
        *map(_divergence, sources),
        Quantity("loss", "loss", "the token's weighted divergence, before the reduction (nats)", "Loss", "Loss"),
        *map(_entropy, policies),
    ]


def in_record(sources: Sequence[str]) -> list[Quantity]:
    """Return quantities in the order of a token's record: the student's probability stands after the sources'."""
    found = _by_kind(sources)
    student, *others = found["probability"]
    return [*found["gap"], *others, student, *found["divergence"], *found["loss"], LOSS_SHARE, *found["entropy"]]


def as_colours(sources: Sequence[str]) -> list[Quantity]:
    """Return the quantities in the order of the page's list of colours."""
    found = _by_kind(sources)
    return [*found["gap"], *found["divergence"], LOSS_SHARE, *found["loss"], *found["entropy"], *found["probability"]]


def _by_kind(sources: Sequence[str]) -> dict[str, list[Quantity]]:
    found: dict[str, list[Quantity]] = {"divergence": []}  # none without a source
    for quantity in quantities_of(sources):
        found.setdefault(quantity.kind, []).append(quantity)
    return found


def _gap(sources: Sequence[str]) -> Quantity:
    if set(PAIR) <= set(sources):
        meaning = "privilege advantage gap |log q_T − log q_R| (nats)"
        return Quantity("gap", "gap", meaning, "Gap |log q_T − log q_R|", "Gap between teacher and reference")
    return Quantity("gap", "gap", "privilege advantage gap (nats)", "Gap", "Privilege advantage gap")


_SYMBOLS = {"teacher": "q_T", "reference": "q_R"}
_CALLED = {STUDENT: "the student"} | {source: f"the {source}" for source in PAIR}
_DESCRIBED = {STUDENT: "the bare student"} | {source: f"the privileged {source}" for source in PAIR}


def _probability(policy: str) -> Quantity:
    meaning = f"probability of the token under {_DESCRIBED.get(policy, policy)}"
    label = colouring = f"Probability under {_CALLED.get(policy, policy)}"
    if policy in _SYMBOLS:
        meaning, label = f"{meaning}, {_SYMBOLS[policy]}", f"{_SYMBOLS[policy]}, under {_CALLED[policy]}"
    return Quantity(f"{policy}_probability", "probability", meaning, label, colouring, policy)


def _divergence(source: str) -> Quantity:
    label = f"KL(student ‖ {source})"
    meaning = f"{label} over the whole vocabulary (nats)"
    colouring = f"Divergence to {_CALLED.get(source, source)}"
    return Quantity(f"{source}_divergence", "divergence", meaning, label, colouring, source)


def _entropy(policy: str) -> Quantity:
    label = f"Entropy of {_CALLED.get(policy, policy)}"
    meaning = f"entropy of {_DESCRIBED.get(policy, policy)} (nats)"
    return Quantity(f"{policy}_entropy", "entropy", meaning, label, label, policy)
