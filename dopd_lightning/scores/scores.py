"""Interfaces of scores: a policy at the response tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from dopd_lightning.scores.table import Table


class Scores(Protocol):
    """A policy at the response tokens.

    Attributes:
        mask: ``(batch, response)``, true at response tokens; ``tokens`` is how many there are, in the mask's order.
        temperature: of the loss; ``logp`` and ``entropy`` are at temperature 1.
    """

    mask: Tensor
    temperature: float

    @property
    def owner(self) -> Tensor | None:
        """``(tokens,)``, the number of the part that each token belongs to, where parts of a batch have their own."""

    @property
    def logp(self) -> Tensor:
        """``(tokens,)``, log-probability of the response token."""

    @property
    def entropy(self) -> Tensor:
        """``(tokens,)``, in nats."""

    def likeliest(self, top_k: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and log-probabilities at the loss temperature, likeliest first, both ``(n, K)``, for ``tokens`` ``(n,)``.

        K is ``top_k``, or the vocabulary where that is smaller.
        """


class RowScores(Scores, Protocol):
    """A policy whose distributions can be had for a few tokens at a time, without those of the others.

    Attributes:
        ids: ``(tokens,)``, the response tokens.
        memory: MiB for logits.
    """

    ids: Tensor
    memory: float

    @property
    def top_k(self) -> int:
        """Number of the likeliest tokens that are kept, for :meth:`table`."""

    @property
    def buffers(self) -> int:
        """Number of rows as wide as the vocabulary that :meth:`log_probs` needs beside those it writes."""

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens that a distribution is over."""

    @property
    def loss_logp(self) -> Tensor:
        """Log-probability of the response token at the loss temperature, ``(tokens,)``."""

    def log_probs(self, tokens: Tensor, out: Tensor, spare: Sequence[Tensor] = (), *, tempered: bool = True) -> Tensor:
        """Log-probabilities of all tokens, written into ``out``.

        Args:
            tokens: ``(n,)``, places among the response tokens.
            out: ``(n, vocab)``, float32 or better.
            spare: ``buffers`` more of the same shape.
            tempered: whether at the loss temperature, instead of at 1.

        Returns:
            ``out``.
        """

    def log_probs_at(self, tokens: Tensor, ids: Tensor) -> Tensor:
        """Log-probabilities at the loss temperature of the tokens ``ids`` ``(n, K)`` alone, ``(n, K)``."""

    def table(self, top_k: int, tokens: Tensor) -> Table:
        """The ``top_k`` likeliest tokens at ``tokens`` ``(n,)``; at most as many as are kept."""
