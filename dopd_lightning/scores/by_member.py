"""Scores of which each response has its own policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from dopd_lightning.inputs.response_mask import Responses
from dopd_lightning.scores.by_logits import LogitScores
from dopd_lightning.scores.scores import RowScores, Scores
from dopd_lightning.scores.table import Table


class RoutedScores:
    """Several policies, each at the responses that are its own.

    Args:
        parts: scores, each with the rows of the batch that they are of; every row is in one of them.
        responses: of the whole batch.

    Attributes:
        owner: ``(tokens,)``, the number of the part that each response token belongs to.
    """

    def __init__(self, parts: Sequence[tuple[RowScores, Tensor]], responses: Responses) -> None:
        self.parts = [scores for scores, _ in parts]
        self.mask = responses.own
        self.ids = responses.ids[self.mask]
        self.temperature, self.memory = self.parts[0].temperature, self.parts[0].memory
        self.owner = owners([rows for _, rows in parts], self.mask)
        self._local = torch.empty_like(self.owner)  # each token's place among those of its part
        for number in range(len(parts)):
            own = self.owner == number
            self._local[own] = torch.arange(int(own.sum()), device=own.device)

    @property
    def top_k(self) -> int:
        """Number of the likeliest tokens that all parts keep."""
        return min(part.top_k for part in self.parts)

    @property
    def buffers(self) -> int:
        """One for a part's rows, and its own."""
        return 1 + max(part.buffers for part in self.parts)

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens that a distribution is over."""
        return self.parts[0].vocabulary_size

    @property
    def logp(self) -> Tensor:
        """``(tokens,)``, log-probability of the response token."""
        return self._gathered(lambda part: part.logp)

    @property
    def entropy(self) -> Tensor:
        """``(tokens,)``, in nats."""
        return self._gathered(lambda part: part.entropy)

    @property
    def loss_logp(self) -> Tensor:
        """Log-probability of the response token at the loss temperature, ``(tokens,)``."""
        return self._gathered(lambda part: part.loss_logp)

    def log_probs(self, tokens: Tensor, out: Tensor, spare: Sequence[Tensor] = (), *, tempered: bool = True) -> Tensor:
        """See `RowScores.log_probs`."""
        for part, places, local in self._of(tokens):
            more = [buffer[: len(local)] for buffer in spare]
            out[places] = part.log_probs(local, more[0], more[1:], tempered=tempered)
        return out

    def log_probs_at(self, tokens: Tensor, ids: Tensor) -> Tensor:
        """See `RowScores.log_probs_at`."""
        found = torch.empty(ids.shape, dtype=self.parts[0].logp.dtype, device=ids.device)
        for part, places, local in self._of(tokens):
            found[places] = part.log_probs_at(local, ids[places])
        return found

    def table(self, top_k: int, tokens: Tensor) -> Table:
        """See `RowScores.table`."""
        dtype, device, shape = self.parts[0].logp.dtype, tokens.device, (len(tokens), top_k)
        found = Table(
            torch.empty(shape, dtype=torch.int32, device=device),
            torch.empty(shape, dtype=dtype, device=device),
            torch.empty(len(tokens), dtype=dtype, device=device),
        )
        for part, places, local in self._of(tokens):
            own = part.table(top_k, local)
            found.ids[places], found.logps[places], found.tail_logp[places] = own.ids, own.logps, own.tail_logp
        return found

    def likeliest(self, top_k: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scores.likeliest`."""
        shape = len(tokens), min(top_k, self.vocabulary_size)
        ids = torch.empty(shape, dtype=torch.long, device=tokens.device)
        logps = torch.empty(shape, dtype=self.parts[0].logp.dtype, device=tokens.device)
        for part, places, local in self._of(tokens):
            ids[places], logps[places] = part.likeliest(top_k, local)
        return ids, logps

    def _of(self, tokens: Tensor) -> Iterator[tuple[RowScores, Tensor, Tensor]]:
        """Each part with the places in ``tokens`` that are its own, and these tokens' numbers among its own."""
        owners, local = self.owner[tokens], self._local[tokens]
        for number, part in enumerate(self.parts):
            places = (owners == number).nonzero().squeeze(-1)
            if len(places):
                yield part, places, local[places]

    def _gathered(self, value: Callable[[RowScores], Tensor]) -> Tensor:
        found = torch.empty(len(self.ids), dtype=self.parts[0].logp.dtype, device=self.ids.device)
        for number, part in enumerate(self.parts):
            found[self.owner == number] = value(part)
        return found


def routed(parts: Sequence[tuple[Scores, Tensor]], responses: Responses) -> Scores:
    """Scores of a batch from those of its parts, all of one kind, each with the rows that they are of.

    Example:
        >>> import torch
        >>> from dopd_lightning.scores import LogitScores
        >>> responses = Responses.from_lists([[0], [0]], pad_id=0)
        >>> ids, mask = torch.tensor([[0]]), torch.tensor([[True]])
        >>> one, other = (LogitScores(torch.tensor([[p]]).log(), ids, mask) for p in ([0.8, 0.2], [0.4, 0.6]))
        >>> routed([(one, torch.tensor([1])), (other, torch.tensor([0]))], responses).logp.exp()
        tensor([0.4000, 0.8000])
    """
    if not isinstance(parts[0][0], LogitScores):
        return RoutedScores([(cast(RowScores, scores), rows) for scores, rows in parts], responses)
    given = [(cast(LogitScores, scores), rows) for scores, rows in parts]
    shape = (*responses.own.shape, given[0][0].logits.shape[-1])
    logits = torch.zeros(shape, dtype=given[0][0].logits.dtype, device=responses.own.device)
    tempered = torch.zeros_like(logits)
    for scores, rows in given:
        logits[rows], tempered[rows] = scores.logits, scores.loss_logits.to(logits.dtype)
    return LogitScores(
        logits,
        responses.ids,
        responses.own,
        temperature=given[0][0].temperature,
        loss_logits=tempered,
        owner=owners([rows for _, rows in given], responses.own),
    )


def owners(rows: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The number of the part that each response token belongs to, ``(tokens,)``.

    Args:
        rows: of the batch, by part; every row is in one of them.
        mask: ``(batch, response)``, true at response tokens.
    """
    of_row = torch.empty(len(mask), dtype=torch.long, device=mask.device)
    for number, own in enumerate(rows):
        of_row[own] = number
    return of_row.unsqueeze(-1).expand_as(mask)[mask]
