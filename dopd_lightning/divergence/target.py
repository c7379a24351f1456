"""A target: what a student is drawn to, and by which gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from dopd_lightning.divergence.measure import Divergence
from dopd_lightning.scores import RowScores


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some response tokens, the student's distributions at them, and room to work in.

    Attributes:
        tokens: ``(n,)``, places among the response tokens.
        ids: ``(n,)``, these tokens.
        student: ``(n, vocab)``, the student's log-probabilities.
        out: ``(n, vocab)``, for a gradient; it may be ``student``, whose values nobody needs any more then.
        spare: ``(n, vocab)`` each, as many as the target asked for. The first may be ``out``.
    """

    tokens: Tensor
    ids: Tensor
    student: Tensor
    out: Tensor
    spare: Sequence[Tensor]


class Outcomes(NamedTuple):
    """A few tokens' log-probabilities under a target: both ``(n, K)``."""

    ids: Tensor
    logps: Tensor


class Target(ABC):
    """Gives the value of a divergence and its gradient by the student's logits, in two ways that agree.

    :meth:`of_logits` is the plain one, differentiated by autograd; :meth:`of_chunk` and :meth:`kept_outcomes` are the
    ones without logits of more than a few tokens.
    """

    @property
    @abstractmethod
    def sources(self) -> frozenset[str]:
        """Names of the sources whose scores it needs."""

    @abstractmethod
    def of_logits(self, student: Tensor, ids: Tensor, sources: Mapping[str, Tensor], how: Divergence) -> Tensor:
        """The divergence ``(n,)`` at some tokens.

        Args:
            student: ``(n, vocab)``, logits, with a graph.
            ids: ``(n,)``, the response tokens.
            sources: ``(n, vocab)`` each, logits by name.
            how: the divergence.
        """

    @abstractmethod
    def of_chunk(self, chunk: Chunk, sources: Mapping[str, RowScores], how: Divergence) -> tuple[Tensor, Tensor]:
        """The divergence ``(n,)``, and its gradient by the student's logits ``(n, vocab)``, in one of the buffers."""

    def buffers(self, sources: Mapping[str, RowScores], how: Divergence) -> int:
        """Number of rows as wide as the vocabulary that :meth:`of_chunk` needs beside the student's."""
        return 0

    def keeps_outcomes(self, student: RowScores, sources: Mapping[str, RowScores], how: Divergence) -> bool:
        """Tell whether :meth:`kept_outcomes` will do, so that no row as wide as the vocabulary is needed."""
        return False

    def kept_outcomes(
        self, tokens: Tensor, student: RowScores, sources: Mapping[str, RowScores], how: Divergence
    ) -> Outcomes:
        """The outcomes that are compared, where :meth:`keeps_outcomes` says that they are kept."""
        raise NotImplementedError

    def tables(self, how: Divergence) -> Mapping[str, int]:
        """Policies whose likeliest tokens are compared, by name, and how many: worth keeping as they are scored."""
        return {}

    def at(self, mask: Tensor) -> Target:
        """The same target with what it holds for each response token, ``(batch, response)``, where ``mask`` is true."""
        return self

    def check(self, name: str, how: Divergence) -> None:  # noqa: B027 - most targets go with any divergence
        """Refuse a divergence that does not suit the target of the term ``name``.

        Raises:
            ConfigError: naming the term.
        """
