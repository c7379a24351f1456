"""Snapshot of a divergence map: some responses at one step, token by token, in a file of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dopd_lightning.io.files import written_whole
from dopd_lightning.maps.quantities import PAIR, STUDENT, quantities_of


@dataclass(frozen=True, eq=False)
class Alternatives:
    """A policy's likeliest tokens, likeliest first.

    Attributes:
        ids: ``(tokens, K)`` int32.
        probabilities: ``(tokens, K)`` float32.
    """

    ids: NDArray[np.int32]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MappedResponse:
    """One response of the student, token by token.

    Attributes:
        prompt: as a person wrote it.
        privileged: what sources may be shown besides, or None.
        fixed: whether the prompt is one of those that come back at every step, else it is of the training batch.
        number: which of the fixed, or of the fresh ones, from 0.
        token_ids: ``(tokens,)`` int32, the response.
        regimes: ``(tokens,)`` int8, values of :class:`~dopd_lightning.fusion.Regime`, -1 where the rule has none.
        quantities: ``(tokens,)`` float32 by name, see `quantities_of`; what the fusion rule does not need is left out.
        alternatives: by policy; one that the fusion rule does not need is left out.
    """

    prompt: str
    privileged: str | None
    fixed: bool
    number: int
    token_ids: NDArray[np.int32]
    regimes: NDArray[np.int8]
    quantities: Mapping[str, NDArray[np.float32]]
    alternatives: Mapping[str, Alternatives]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The responses at one step.

    Attributes:
        step: optimizer steps taken before.
        responses: the fixed prompts' first.
        pieces: the bytes that each token id in it stands for, alternatives included.
        sources: the names of the sources of supervision, in their order.
    """

    step: int
    responses: Sequence[MappedResponse]
    pieces: Mapping[int, bytes]
    sources: Sequence[str] = PAIR

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a NumPy archive, without pickled objects: ``<number of the response>/<field>``.

        Raises:
            WriteError: if that fails.
        """
        arrays: dict[str, Any] = {"step": np.array(self.step), "sources": _from_text(json.dumps(list(self.sources)))}
        arrays["pieces/ids"] = np.array(list(self.pieces), dtype=np.int32)
        arrays["pieces/lengths"] = np.array([len(piece) for piece in self.pieces.values()], dtype=np.int32)
        arrays["pieces/bytes"] = np.frombuffer(b"".join(self.pieces.values()), dtype=np.uint8)
        for index, response in enumerate(self.responses):
            fields: dict[str, Any] = {
                "prompt": _from_text(response.prompt),
                "fixed": np.array(response.fixed),
                "number": np.array(response.number),
                "token_ids": response.token_ids,
                "regimes": response.regimes,
                **{f"quantities/{name}": values for name, values in response.quantities.items()},
            }
            if response.privileged is not None:
                fields["privileged"] = _from_text(response.privileged)
            for policy, alternatives in response.alternatives.items():
                fields[f"alternatives/{policy}/ids"] = alternatives.ids
                fields[f"alternatives/{policy}/probabilities"] = alternatives.probabilities
            arrays |= {f"{index}/{name}": values for name, values in fields.items()}
        with written_whole(path, "the map") as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Snapshot:
        """Read what :meth:`save` wrote, also before it wrote the names of sources."""
        with np.load(path) as archive:
            arrays = dict(archive)
        sources = json.loads(_to_text(arrays["sources"])) if "sources" in arrays else _sources_before(arrays)
        count = len({name.split("/")[0] for name in arrays} - {"step", "sources", "pieces"})
        ends = arrays["pieces/lengths"].cumsum()
        data = arrays["pieces/bytes"].tobytes()
        starts = ends - arrays["pieces/lengths"]
        pieces = {
            int(token): data[start:end] for token, start, end in zip(arrays["pieces/ids"], starts, ends, strict=True)
        }
        responses = [_response(arrays, f"{index}/", sources) for index in range(count)]
        return cls(int(arrays["step"]), responses, pieces, sources)


def all_sources(snapshots: Sequence[Snapshot]) -> list[str]:
    """The names of the sources of any of them, in their order.

    Example:
        >>> snapshots = [Snapshot(0, [], {}, ["teacher"]), Snapshot(1, [], {}, ["teacher", "maths"])]
        >>> all_sources(snapshots)
        ['teacher', 'maths']
    """
    return list(dict.fromkeys(source for snapshot in snapshots for source in snapshot.sources))


def _sources_before(arrays: Mapping[str, Any]) -> list[str]:
    """Those of an archive that does not name them: of the two that there were, the ones that something is known of."""
    fields = {name.partition("/")[2] for name in arrays}
    return [
        source
        for source in PAIR
        if any(field.startswith((f"quantities/{source}_", f"alternatives/{source}/")) for field in fields)
    ]


def _response(arrays: Mapping[str, Any], prefix: str, sources: Sequence[str]) -> MappedResponse:
    fields = {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
    return MappedResponse(
        prompt=_to_text(fields["prompt"]),
        privileged=_to_text(fields["privileged"]) if "privileged" in fields else None,
        fixed=bool(fields["fixed"]),
        number=int(fields["number"]),
        token_ids=fields["token_ids"],
        regimes=fields["regimes"],
        quantities={
            quantity.name: fields[f"quantities/{quantity.name}"]
            for quantity in quantities_of(sources)
            if f"quantities/{quantity.name}" in fields
        },
        alternatives={
            policy: Alternatives(fields[f"alternatives/{policy}/ids"], fields[f"alternatives/{policy}/probabilities"])
            for policy in (STUDENT, *sources)
            if f"alternatives/{policy}/ids" in fields
        },
    )


def _from_text(text: str) -> NDArray[np.uint8]:
    """Return the text's bytes: NumPy's own strings lose trailing zeros, and a prompt may hold a lone surrogate."""
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)


def _to_text(data: NDArray[np.uint8]) -> str:
    return data.tobytes().decode("utf-8", "surrogatepass")
