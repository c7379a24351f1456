"""Targets: each computes the student's divergence from it, and the gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from dopd_lightning.divergence.settings import Divergence
from dopd_lightning.scores import RowScores


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some response tokens, the student's distributions at them, and work buffers.

    Attributes:
        tokens: ``(n,)``, indices among the response tokens.
        ids: ``(n,)``, ids of these tokens.
        student: ``(n, vocab)``, the student's log-probabilities.
        out: ``(n, vocab)``, for a gradient; it may be ``student``, whose values are then no longer needed.
        spare: as many ``(n, vocab)`` buffers as the target asked for. The first may be ``out``.
    """

    tokens: Tensor
    ids: Tensor
    student: Tensor
    out: Tensor
    spare: Sequence[Tensor]


class Outcomes(NamedTuple):
    """Log-probabilities of a few tokens under a target; ids and log-probabilities are ``(n, K)``."""

    ids: Tensor
    logps: Tensor


class Target(ABC):
    """Target of a term: computes the divergence and its gradient by the student's logits, in two ways that agree.

    :meth:`of_logits` is the plain way, differentiated by autograd; :meth:`of_chunk` and :meth:`kept_outcomes` need the
    logits of only a few tokens at a time.

    Attributes:
        on_policy: True if its gradient is right only for tokens that were drawn from the student's distribution.
    """

    on_policy: ClassVar[bool] = False

    @property
    @abstractmethod
    def sources(self) -> frozenset[str]:
        """Names of the sources that it needs."""

    @abstractmethod
    def of_logits(self, student: Tensor, ids: Tensor, sources: Mapping[str, Tensor], how: Divergence) -> Tensor:
        """Return the divergence ``(n,)`` at some tokens.

        Args:
            student: ``(n, vocab)``, logits, with a graph.
            ids: ``(n,)``, the response tokens.
            sources: ``(n, vocab)`` each, logits by name.
            how: the divergence.
        """

    @abstractmethod
    def of_chunk(self, chunk: Chunk, sources: Mapping[str, RowScores], how: Divergence) -> tuple[Tensor, Tensor]:
        """Return the divergence ``(n,)``, and in a buffer its gradient by the student's logits ``(n, vocab)``."""

    def buffers(self, sources: Mapping[str, RowScores], how: Divergence) -> int:
        """Return the number of ``(n, vocab)`` buffers that :meth:`of_chunk` needs beside the student's."""
        return 0

    def keeps_outcomes(self, student: RowScores, sources: Mapping[str, RowScores], how: Divergence) -> bool:
        """Return whether :meth:`kept_outcomes` is enough, so that no ``(n, vocab)`` buffer is needed."""
        return False

    def kept_outcomes(
        self, tokens: Tensor, student: RowScores, sources: Mapping[str, RowScores], how: Divergence
    ) -> Outcomes:
        """Return the compared outcomes, where :meth:`keeps_outcomes` is true."""
        raise NotImplementedError

    def tables(self, how: Divergence) -> Mapping[str, int]:
        """Return the number of likeliest tokens to keep during scoring, by policy."""
        return {}

    def at(self, mask: Tensor) -> Target:
        """Restrict values ``(batch, response)`` that the target holds to the tokens where ``mask`` is true."""
        return self

    def check(self, name: str, how: Divergence) -> None:  # noqa: B027 - most targets go with any divergence
        """Refuse a divergence that this target cannot have, in the term ``name``.

        Raises:
            ConfigError: naming the term.
        """
