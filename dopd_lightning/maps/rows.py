"""A snapshot as a table, one row a token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dopd_lightning.fusion import Regime
from dopd_lightning.maps.snapshot import QUANTITIES, ROLES, MappedResponse, Snapshot
from dopd_lightning.maps.visible import shown_alone

COLUMNS = (
    "step",
    "set",
    "prompt",
    "number",
    "position",
    "token",
    "token_id",
    "regime",
    *QUANTITIES,
    *(f"{role}_would_say" for role in ROLES),
)
"""Of the table; ``set`` is ``fixed`` or ``fresh``. What is not known of a token is None."""


def rows(snapshot: Snapshot) -> Iterator[list[Any]]:
    """The tokens of a snapshot in order, each with `COLUMNS`."""
    alone = {token: shown_alone(piece) for token, piece in snapshot.pieces.items()}
    for response in snapshot.responses:
        for n in range(len(response.token_ids)):
            yield _row(snapshot.step, response, n, alone)


def _row(step: int, response: MappedResponse, n: int, alone: dict[int, str]) -> list[Any]:
    token, regime = int(response.token_ids[n]), int(response.regimes[n])
    quantities = [float(response.quantities[name][n]) if name in response.quantities else None for name in QUANTITIES]
    return [
        step,
        "fixed" if response.fixed else "fresh",
        response.prompt,
        response.number,
        n,
        alone[token],
        token,
        Regime(regime).name if regime >= 0 else None,
        *quantities,
        *(_would_say(response, role, n, alone) for role in ROLES),
    ]


def _would_say(response: MappedResponse, role: str, n: int, alone: dict[int, str]) -> str | None:
    """A policy's likeliest tokens with their probabilities, in one line."""
    if role not in response.alternatives:
        return None
    found = response.alternatives[role]
    pairs = zip(found.ids[n].tolist(), found.probabilities[n].tolist(), strict=True)
    return "   ".join(f"{alone[token]} {probability:.3f}" for token, probability in pairs)
