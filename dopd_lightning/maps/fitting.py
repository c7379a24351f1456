"""How much of which snapshots a page has room for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dopd_lightning.maps.encoding import NEEDED, PLAN, Encoded
from dopd_lightning.maps.vocabulary import vocabulary

AROUND = 200
"""Bytes around a snapshot's layers, at most: its element, and its step in the page's index."""


@dataclass(frozen=True, eq=False)
class Contents:
    """What a page holds.

    Attributes:
        snapshots: in order of their steps.
        layers: how many of `PLAN`, from its beginning.
        vocabulary: of the tokens in them, encoded.
        left_out: what that is less than everything, in words.
    """

    snapshots: Sequence[Encoded]
    layers: int
    vocabulary: str
    left_out: Sequence[str]


def fit(snapshots: Sequence[Encoded], pieces: Mapping[int, bytes], room: int) -> Contents:
    """As much of the snapshots as fits: fewer layers of each at first, then fewer of them, evenly.

    Args:
        snapshots: in order of their steps.
        pieces: the bytes of each token id in them.
        room: bytes.
    """
    everything = (len(snapshots), len(PLAN))
    ladder = [(count, NEEDED) for count in range(len(snapshots))]
    ladder += [(len(snapshots), layers) for layers in range(NEEDED, len(PLAN))]
    best = _attempt(snapshots, pieces, *everything, room)
    low, high = 0, 0 if best else len(ladder)
    while low < high:  # each rung is larger than the one before
        middle = (low + high) // 2
        found = _attempt(snapshots, pieces, *ladder[middle], room)
        low, high = (middle + 1, high) if found else (low, middle)
        best = found or best
    return best or Contents([], NEEDED, "", [*_left_out(snapshots, 0, NEEDED)])


def _attempt(
    snapshots: Sequence[Encoded], pieces: Mapping[int, bytes], count: int, layers: int, room: int
) -> Contents | None:
    chosen = np.unique(np.linspace(len(snapshots) - 1, 0, count).round().astype(int)) if count else ()
    kept = [snapshots[index] for index in chosen]
    size = sum(AROUND + sum(len(layer) + 1 for layer in snapshot.layers[:layers]) for snapshot in kept)
    if size > room:
        return None
    ids = [ids for snapshot in kept for ids in snapshot.ids[:layers]]
    words = vocabulary(np.unique(np.concatenate(ids)), pieces) if ids else ""
    if size + len(words) > room:
        return None
    return Contents(kept, layers, words, [*_left_out(snapshots, len(kept), layers)])


def _left_out(snapshots: Sequence[Encoded], kept: int, layers: int) -> Iterator[str]:
    """What is said of the first layer that is missing about each thing; of what no snapshot has, nothing."""
    if kept < len(snapshots):
        yield f"only {kept} of {len(snapshots)} steps"
    said = set()
    for index, layer in enumerate(PLAN[layers:], layers):
        if layer.about not in said and any(snapshot.has(index) for snapshot in snapshots):
            said.add(layer.about)
            yield layer.without
