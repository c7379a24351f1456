"""Selection of snapshots and layers that fit a page's size limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dopd_lightning.maps.encoding import NEEDED, Encoded, Layer
from dopd_lightning.maps.vocabulary import vocabulary

AROUND = 200
"""Bytes around a snapshot's layers, at most: its element, and its step in the page's index."""


@dataclass(frozen=True, eq=False)
class Contents:
    """Contents of a page.

    Attributes:
        snapshots: in order of their steps.
        layers: of the plan, from its beginning.
        vocabulary: of the tokens in them, encoded.
        left_out: what that is less than everything, in words.
    """

    snapshots: Sequence[Encoded]
    layers: Sequence[Layer]
    vocabulary: str
    left_out: Sequence[str]


def fit(snapshots: Sequence[Encoded], pieces: Mapping[int, bytes], plan: Sequence[Layer], room: int) -> Contents:
    """Return as much of the snapshots as fits: first layers are dropped, then snapshots, evenly over time.

    Args:
        snapshots: in order of their steps.
        pieces: the bytes of each token id in them.
        plan: all layers that any of them may have.
        room: bytes.
    """
    ladder = [(count, len(NEEDED)) for count in range(len(snapshots))]
    ladder += [(len(snapshots), layers) for layers in range(len(NEEDED), len(plan))]
    best = _attempt(snapshots, pieces, plan, len(snapshots), len(plan), room)
    low, high = 0, 0 if best else len(ladder)
    while low < high:  # each rung is larger than the one before
        middle = (low + high) // 2
        found = _attempt(snapshots, pieces, plan, *ladder[middle], room)
        low, high = (middle + 1, high) if found else (low, middle)
        best = found or best
    return best or Contents([], NEEDED, "", [*left_out(snapshots, plan, 0, len(NEEDED))])


def _attempt(
    snapshots: Sequence[Encoded],
    pieces: Mapping[int, bytes],
    plan: Sequence[Layer],
    count: int,
    layers: int,
    room: int,
) -> Contents | None:
    chosen = np.unique(np.linspace(len(snapshots) - 1, 0, count).round().astype(int)) if count else ()
    kept = [snapshots[index] for index in chosen]
    size = sum(AROUND + sum(len(text) + 1 for text in snapshot.written(plan[:layers])) for snapshot in kept)
    if size > room:
        return None
    ids = [snapshot.ids[layer.name] for snapshot in kept for layer in plan[:layers] if layer.name in snapshot.ids]
    words = vocabulary(np.unique(np.concatenate(ids)), pieces) if ids else ""
    if size + len(words) > room:
        return None
    return Contents(kept, plan[:layers], words, [*left_out(snapshots, plan, len(kept), layers)])


def left_out(snapshots: Sequence[Encoded], plan: Sequence[Layer], kept: int, layers: int) -> Iterator[str]:
    """Return a phrase for the first missing layer of each quantity that a snapshot has."""
    if kept < len(snapshots):
        yield f"only {kept} of {len(snapshots)} steps"
    said = set()
    for layer in plan[layers:]:
        if layer.about not in said and any(layer.name in snapshot.layers for snapshot in snapshots):
            said.add(layer.about)
            yield layer.without
