"""A snapshot as a table, one row a token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dopd_lightning.fusion import Regime
from dopd_lightning.maps.quantities import STUDENT, quantities_of
from dopd_lightning.maps.snapshot import MappedResponse, Snapshot
from dopd_lightning.maps.visible import shown_alone


def columns(sources: Sequence[str]) -> list[str]:
    """The columns of a table beside these sources; ``set`` is ``fixed`` or ``fresh``.

    Example:
        >>> columns(["maths"])[-3:]
        ['maths_entropy', 'student_would_say', 'maths_would_say']
    """
    quantities = [quantity.name for quantity in quantities_of(sources)]
    would_say = [f"{policy}_would_say" for policy in (STUDENT, *sources)]
    return ["step", "set", "prompt", "number", "position", "token", "token_id", "regime", *quantities, *would_say]


def rows(snapshot: Snapshot, sources: Sequence[str] | None = None) -> Iterator[list[Any]]:
    """The tokens of a snapshot in order, each with `columns`; what is not known of a token is None.

    Args:
        snapshot: all of it.
        sources: of a table with other snapshots, whose sources may be others; the snapshot's own if not given.

    Example:
        >>> import numpy as np
        >>> losses = {"loss": np.array([0.5])}
        >>> response = MappedResponse("1 + 1 = ?", None, True, 0, np.array([5]), np.array([-1]), losses, {})
        >>> table = [dict(zip(columns([]), row)) for row in rows(Snapshot(0, [response], {5: b"2"}, []))]
        >>> table[0]["token"], table[0]["loss"]
        ('2', 0.5)
    """
    sources = snapshot.sources if sources is None else sources
    alone = {token: shown_alone(piece) for token, piece in snapshot.pieces.items()}
    quantities = [quantity.name for quantity in quantities_of(sources)]
    for response in snapshot.responses:
        for n in range(len(response.token_ids)):
            yield [
                *_place(snapshot.step, response, n, alone),
                *(float(response.quantities[name][n]) if name in response.quantities else None for name in quantities),
                *(_would_say(response, policy, n, alone) for policy in (STUDENT, *sources)),
            ]


def _place(step: int, response: MappedResponse, n: int, alone: dict[int, str]) -> list[Any]:
    token, regime = int(response.token_ids[n]), int(response.regimes[n])
    return [
        step,
        "fixed" if response.fixed else "fresh",
        response.prompt,
        response.number,
        n,
        alone[token],
        token,
        Regime(regime).name if regime >= 0 else None,
    ]


def _would_say(response: MappedResponse, policy: str, n: int, alone: dict[int, str]) -> str | None:
    """A policy's likeliest tokens with their probabilities, in one line."""
    if policy not in response.alternatives:
        return None
    found = response.alternatives[policy]
    pairs = zip(found.ids[n].tolist(), found.probabilities[n].tolist(), strict=True)
    return "   ".join(f"{alone[token]} {probability:.3f}" for token, probability in pairs)
