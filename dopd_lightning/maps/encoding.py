"""A snapshot as a browser reads it: layers of bytes, the most important first, so that a page may stop after any.

Each layer is deflated by itself. Numbers come digit by digit (`numbers`), in planes: all first digits, then all second
ones. Token ids are planes of low, middle and high bytes. The tokens of all responses stand in one row.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from dopd_lightning.maps.codes import DIGITS, codes, digit
from dopd_lightning.maps.quantities import STUDENT, Quantity, quantities_of
from dopd_lightning.maps.snapshot import Snapshot
from dopd_lightning.maps.visible import is_text, readable, shown

FEW = 3
"""Alternatives that are kept longest."""

SHARES = (32, 8, 1)
"""Alternatives come first for one token in 32, those with the largest gap, then for one in 8, then for all."""

ABSENT = "-"
"""A layer that the snapshot has nothing for, as it is written."""


class Layer(NamedTuple):
    """A part of a snapshot's encoding.

    Attributes:
        name: what it holds.
        about: layers about the same thing refine each other, in this order.
        without: what a page has to say if it goes no further; empty for what no page does without.
    """

    name: str
    about: str
    without: str


NEEDED = [Layer(name, name, "") for name in ("texts", "ids", "regimes")]

_DETAILS = [
    Layer("alternatives/32", "alternatives", "no alternatives"),
    Layer("finer", "numbers", "numbers within 16 %"),
    Layer(
        "alternatives/8",
        "alternatives",
        f"alternatives for one token in 32, those with the largest gap (or loss), and only the {FEW} likeliest",
    ),
    Layer("fine", "numbers", "numbers within 4 %"),
    Layer(
        "alternatives/1",
        "alternatives",
        f"alternatives for one token in 8, those with the largest gap (or loss), and only the {FEW} likeliest",
    ),
    Layer("alternatives/more", "alternatives", f"only the {FEW} likeliest alternatives"),
    Layer("alternatives/fine", "alternatives", "probabilities of alternatives within 4 %"),
]


def plan(sources: Sequence[str]) -> list[Layer]:
    """All layers beside these sources, in the order in which they are written; a page gives them up from the end."""
    coarse = [Layer(f"coarse/{each.name}", each.name, f"no {_words(each)}") for each in quantities_of(sources)]
    return [*NEEDED, *coarse, *_DETAILS]


def _words(quantity: Quantity) -> str:
    return f"{quantity.policy} {quantity.kind}" if quantity.policy else quantity.kind


@dataclass(frozen=True, eq=False)
class Encoded:
    """A snapshot's layers.

    Attributes:
        step: the snapshot's.
        layers: by name, deflated, in base64; only those that there is anything in.
        ids: by layer's name, the token ids in it, without repeats.
        scales: by quantity, and ``loss_share``: the value that one token in a hundred exceeds.
    """

    step: int
    layers: dict[str, str] = field(default_factory=dict)
    ids: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)

    def written(self, layers: Sequence[Layer]) -> list[str]:
        """These layers as a page has them, `ABSENT` where there is nothing."""
        return [self.layers.get(layer.name, ABSENT) for layer in layers]


_ENCODED: WeakKeyDictionary[Snapshot, Encoded] = WeakKeyDictionary()


def encoded(snapshot: Snapshot) -> Encoded:
    """Encode a snapshot, once while it lives: a page with one snapshot more encodes that one alone."""
    if snapshot not in _ENCODED:
        rows = _Rows(snapshot)
        result = Encoded(snapshot.step, scales=rows.scales())
        for layer in plan(snapshot.sources):
            arrays, ids = rows.layer(layer.name)
            data = b"".join(part if isinstance(part, bytes) else part.tobytes() for part in arrays)
            if not data:
                continue
            # In digits nothing longer repeats but zeros: looking for it costs time, and bytes.
            strategy = zlib.Z_RLE if layer.name.split("/")[0] in {"regimes", *DIGITS} else zlib.Z_FILTERED
            result.layers[layer.name] = deflated(data, strategy)
            result.ids[layer.name] = np.unique(ids)
        _ENCODED[snapshot] = result
    return _ENCODED[snapshot]


def deflated(data: bytes, strategy: int = zlib.Z_FILTERED) -> str:
    """Raw deflate, in base64."""
    compressor = zlib.compressobj(6, wbits=-15, strategy=strategy)
    return b64encode(compressor.compress(data) + compressor.flush()).decode()


Number = TypeVar("Number", bound=np.number[Any])

NONE = np.zeros(0, dtype=np.int32)


class _Rows:
    """The tokens of all of a snapshot's responses, in one row."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        filled = [response for response in snapshot.responses if len(response.token_ids)]
        self.lengths = np.array([len(response.token_ids) for response in filled], dtype=np.int64)
        self.ids = _joined([response.token_ids for response in filled], np.int32)
        self.regimes = _joined([response.regimes for response in filled], np.int8)
        names = [each.name for each in quantities_of(snapshot.sources) if filled and each.name in filled[0].quantities]
        self.quantities = {
            name: _joined([response.quantities[name] for response in filled], np.float32) for name in names
        }
        self.codes = {name: codes(values) for name, values in self.quantities.items()}
        self.policies = [each for each in (STUDENT, *snapshot.sources) if filled and each in filled[0].alternatives]
        if self.policies:  # (policies, tokens, K)
            found = [[response.alternatives[policy] for response in filled] for policy in self.policies]
            self.alternative_ids = np.stack([_joined([one.ids for one in policy], np.int32) for policy in found])
            self.alternative_codes = codes(
                np.stack([_joined([one.probabilities for one in policy], np.float32) for policy in found])
            )
            self.shares = self._shares()

    def scales(self) -> dict[str, float]:
        values = dict(self.quantities)
        if "loss" in values:
            owner = np.repeat(np.arange(len(self.lengths)), self.lengths)
            totals = np.bincount(owner, weights=values["loss"], minlength=len(self.lengths))[owner]
            values["loss_share"] = np.divide(values["loss"], totals, out=np.zeros_like(totals), where=totals > 0)
        finite = {name: row[np.isfinite(row)] for name, row in values.items()}
        return {name: float(np.quantile(row, 0.99)) for name, row in finite.items() if len(row)}

    def layer(self, name: str) -> tuple[list[Any], NDArray[np.int32]]:
        """Return the text of a layer, and the token ids in it."""
        match name.split("/", 1):
            case ["texts"]:
                return [json.dumps(self._texts()).encode()], NONE
            case ["ids"]:
                return _planes(self.ids), self.ids
            case ["regimes"]:
                return [self.regimes], NONE
            case ["coarse", quantity] if quantity in self.codes:
                signs = np.packbits(self.quantities[quantity] < 0, bitorder="little")
                return [digit(self.codes[quantity], "coarse"), signs], NONE
            case ["finer" | "fine"]:
                return [digit(row, name) for row in self.codes.values()], NONE
            case ["alternatives", part] if self.policies:
                return self._alternatives(part)
        return [], NONE

    def _alternatives(self, part: str) -> tuple[list[Any], NDArray[np.int32]]:
        if part == "fine":
            return [digit(self.alternative_codes, "fine")], NONE
        if part == "more":
            which, ids, found = [], self.alternative_ids[..., FEW:], self.alternative_codes[..., FEW:]
        else:
            tokens = self.shares[int(part)]
            which = [np.packbits(tokens, bitorder="little")]
            ids, found = self.alternative_ids[:, tokens, :FEW], self.alternative_codes[:, tokens, :FEW]
        return [*which, *_planes(ids), (found >> 8).astype(np.uint8)], ids

    def _shares(self) -> Mapping[int, NDArray[np.bool_]]:
        """Return, for each of `SHARES`, the tokens that it adds to the previous ones."""
        interest = next((self.quantities[name] for name in ("gap", "loss") if name in self.quantities), None)
        order = np.argsort(-np.abs(interest), kind="stable") if interest is not None else np.arange(len(self.ids))
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        ends = [0, *(-(-len(order) // share) for share in SHARES)]
        return {
            share: (rank >= begin) & (rank < end) for share, begin, end in zip(SHARES, ends[:-1], ends[1:], strict=True)
        }

    def _texts(self) -> dict[str, Any]:
        return {
            "step": self.snapshot.step,
            "quantities": list(self.codes),
            "policies": self.policies,
            "alternatives": self.alternative_ids.shape[-1] if self.policies else 0,
            "responses": [
                {
                    "prompt": readable(response.prompt),
                    "privileged": None if response.privileged is None else readable(response.privileged),
                    "fixed": bool(response.fixed),
                    "number": int(response.number),
                    "tokens": len(response.token_ids),
                }
                for response in self.snapshot.responses
            ],
            "parts": list(self._parts()),
        }

    def _parts(self) -> Iterator[tuple[int, str, str]]:
        """Tokens that are seen in another way than alone, as parts of characters: where, text and note."""
        pieces = self.snapshot.pieces
        incomplete = np.array([token for token, piece in pieces.items() if not is_text(piece)], dtype=np.int32)
        start = 0
        for length in self.lengths:
            ids = self.ids[start : start + length]
            where = np.flatnonzero(np.isin(ids, incomplete))
            for run in np.split(where, np.flatnonzero(np.diff(where) > 1) + 1) if len(where) else ():
                for position, token in zip(run, shown([pieces[int(token)] for token in ids[run]]), strict=True):
                    if token.note:
                        yield int(start + position), token.text, token.note
            start += length


def _joined(rows: Sequence[NDArray[Any]], dtype: type[Number]) -> NDArray[Number]:
    return np.concatenate(rows).astype(dtype) if rows else np.zeros(0, dtype)


def _planes(ids: NDArray[np.int32]) -> list[NDArray[np.uint8]]:
    """Low, middle and high bytes; a vocabulary has fewer than 2^24 tokens."""
    return [((ids >> shift) & 0xFF).astype(np.uint8) for shift in (0, 8, 16)]
