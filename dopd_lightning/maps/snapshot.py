"""What a divergence map holds: some responses at one step, token by token, in a file of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dopd_lightning.io.files import written_whole

ROLES = ("student", "teacher", "reference")

QUANTITIES = {
    "gap": "privilege advantage gap |log q_T − log q_R| (nats)",
    "student_probability": "probability of the token under the bare student",
    "teacher_probability": "probability of the token under the privileged teacher, q_T",
    "reference_probability": "probability of the token under the privileged reference, q_R",
    "teacher_divergence": "KL(student ‖ teacher) over the whole vocabulary (nats)",
    "reference_divergence": "KL(student ‖ reference) over the whole vocabulary (nats)",
    "loss": "the token's weighted divergence, before the reduction (nats)",
    "student_entropy": "entropy of the bare student (nats)",
    "teacher_entropy": "entropy of the privileged teacher (nats)",
    "reference_entropy": "entropy of the privileged reference (nats)",
}
"""What is known of a token, in numbers: names and meanings."""


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
        privileged: what teacher and reference were shown besides, or None.
        fixed: whether the prompt is one of those that come back at every step, else it is of the training batch.
        number: which of the fixed, or of the fresh ones, from 0.
        token_ids: ``(tokens,)`` int32, the response.
        regimes: ``(tokens,)`` int8, values of :class:`~dopd_lightning.fusion.Regime`, -1 where the rule has none.
        quantities: ``(tokens,)`` float32 by name, see `QUANTITIES`; one that the fusion rule does not need is left out.
        alternatives: by role; a policy that the fusion rule does not need is left out.
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
    """

    step: int
    responses: Sequence[MappedResponse]
    pieces: Mapping[int, bytes]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a NumPy archive, without pickled objects: ``<number of the response>/<field>``.

        Raises:
            WriteError: if that fails.
        """
        arrays: dict[str, Any] = {"step": np.array(self.step)}
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
            for role, alternatives in response.alternatives.items():
                fields[f"alternatives/{role}/ids"] = alternatives.ids
                fields[f"alternatives/{role}/probabilities"] = alternatives.probabilities
            arrays |= {f"{index}/{name}": values for name, values in fields.items()}
        with written_whole(path, "the map") as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Snapshot:
        """Read what :meth:`save` wrote."""
        with np.load(path) as archive:
            arrays = dict(archive)
        count = len({name.split("/")[0] for name in arrays} - {"step", "pieces"})
        ends = arrays["pieces/lengths"].cumsum()
        data = arrays["pieces/bytes"].tobytes()
        starts = ends - arrays["pieces/lengths"]
        pieces = {
            int(token): data[start:end] for token, start, end in zip(arrays["pieces/ids"], starts, ends, strict=True)
        }
        return cls(int(arrays["step"]), [_response(arrays, f"{index}/") for index in range(count)], pieces)


def _response(arrays: Mapping[str, Any], prefix: str) -> MappedResponse:
    fields = {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
    return MappedResponse(
        prompt=_to_text(fields["prompt"]),
        privileged=_to_text(fields["privileged"]) if "privileged" in fields else None,
        fixed=bool(fields["fixed"]),
        number=int(fields["number"]),
        token_ids=fields["token_ids"],
        regimes=fields["regimes"],
        quantities={name: fields[f"quantities/{name}"] for name in QUANTITIES if f"quantities/{name}" in fields},
        alternatives={
            role: Alternatives(fields[f"alternatives/{role}/ids"], fields[f"alternatives/{role}/probabilities"])
            for role in ROLES
            if f"alternatives/{role}/ids" in fields
        },
    )


def _from_text(text: str) -> NDArray[np.uint8]:
    """Its bytes: NumPy's own strings lose zeros at their end, and a prompt may hold a lone surrogate."""
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)


def _to_text(data: NDArray[np.uint8]) -> str:
    return data.tobytes().decode("utf-8", "surrogatepass")
