"""Several policies as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from dopd_lightning.scores.by_logits import LogitScores
from dopd_lightning.scores.distribution import at_ids
from dopd_lightning.scores.pooling import Weight, mix_in_, pool, weigh_
from dopd_lightning.scores.rows import blocks, normalize_
from dopd_lightning.scores.scores import RowScores, Scores
from dopd_lightning.scores.table import Table
from dopd_lightning.scores.workspace import Workspace


class PooledScores:
    """A pool of policies at the response tokens. It is made of whole distributions, so that no table is kept.

    Args:
        members: scores of the same tokens, each with its weight: a number, or ``(tokens,)``.
        geometric: whether the pool is log-linear.
    """

    top_k = 0
    owner: Tensor | None = None

    def __init__(self, members: Sequence[tuple[RowScores, Weight]], geometric: bool) -> None:
        self.members, self.geometric = members, geometric
        first = members[0][0]
        self.ids, self.mask, self.temperature, self.memory = first.ids, first.mask, first.temperature, first.memory
        self._known: dict[bool, tuple[Tensor, Tensor]] = {}  # logp and entropy, by whether at the loss temperature

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens that a distribution is over."""
        return self.members[0][0].vocabulary_size

    @property
    def buffers(self) -> int:
        """One for the next member, and its own."""
        return 1 + max(member.buffers for member, _ in self.members)

    @property
    def logp(self) -> Tensor:
        """``(tokens,)``, log-probability of the response token."""
        return self._learned(tempered=False)[0]

    @property
    def entropy(self) -> Tensor:
        """``(tokens,)``, in nats."""
        return self._learned(tempered=False)[1]

    @property
    def loss_logp(self) -> Tensor:
        """Log-probability of the response token at the loss temperature, ``(tokens,)``."""
        return self._learned(tempered=True)[0]

    def log_probs(self, tokens: Tensor, out: Tensor, spare: Sequence[Tensor] = (), *, tempered: bool = True) -> Tensor:
        """See `RowScores.log_probs`."""
        for number, (member, weight) in enumerate(self.members):
            own = weight[tokens] if isinstance(weight, Tensor) and weight.ndim else weight
            if number == 0:
                weigh_(member.log_probs(tokens, out, spare, tempered=tempered), own, geometric=self.geometric)
            else:
                more = member.log_probs(tokens, spare[0], spare[1:], tempered=tempered)
                mix_in_(out, more, own, geometric=self.geometric)
        normalize_(out)
        return out

    def log_probs_at(self, tokens: Tensor, ids: Tensor) -> Tensor:
        """See `RowScores.log_probs_at`."""
        found = torch.empty(ids.shape, dtype=self._dtype, device=ids.device)
        for places, rows in self._rows(tokens):
            found[places] = rows.gather(-1, ids[places])
        return found

    def table(self, top_k: int, tokens: Tensor) -> Table:
        """Refuse: none is kept."""
        raise NotImplementedError("PooledScores keeps no table (top_k is 0)")

    def likeliest(self, top_k: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scores.likeliest`."""
        shape = len(tokens), min(top_k, self.vocabulary_size)
        logps = torch.empty(shape, dtype=self._dtype, device=tokens.device)
        ids = torch.empty(shape, dtype=torch.long, device=tokens.device)
        for places, rows in self._rows(tokens):
            logps[places], ids[places] = rows.topk(shape[1])
        return ids, logps

    @property
    def _dtype(self) -> torch.dtype:
        return self.members[0][0].logp.dtype

    @torch.no_grad()
    def _rows(self, tokens: Tensor, *, tempered: bool = True) -> Iterator[tuple[Tensor, Tensor]]:
        """Places in ``tokens`` ``(n,)``, and the log-probabilities there, as many at once as memory has room for."""
        space = Workspace(self.memory, self.vocabulary_size, self.members[0][0].logp)
        with torch.autocast(tokens.device.type, enabled=False):
            for places, (rows, *spare) in space.chunks(
                torch.arange(len(tokens), device=tokens.device), 1 + self.buffers
            ):
                yield places, self.log_probs(tokens[places], rows, spare, tempered=tempered)

    def _learned(self, *, tempered: bool) -> tuple[Tensor, Tensor]:
        tempered = tempered and self.temperature != 1
        if tempered not in self._known:
            logp, entropy = torch.empty(2, len(self.ids), dtype=self._dtype, device=self.ids.device).unbind()
            for places, rows in self._rows(torch.arange(len(self.ids), device=self.ids.device), tempered=tempered):
                logp[places] = at_ids(rows, self.ids[places])
                entropy[places] = -sum((block.exp() * block).sum(-1) for (block,) in blocks(rows))
            self._known[tempered] = logp, entropy
        return self._known[tempered]


def pooled(members: Sequence[tuple[Scores, Weight]], *, geometric: bool) -> Scores:
    """Pool scores that are all of one kind, each with its weight.

    Example:
        >>> import torch
        >>> from dopd_lightning.scores import LogitScores
        >>> ids, mask = torch.tensor([[0]]), torch.tensor([[True]])
        >>> one, other = (LogitScores(torch.tensor([[p]]).log(), ids, mask) for p in ([0.8, 0.2], [0.4, 0.6]))
        >>> pooled([(one, 0.5), (other, 0.5)], geometric=False).logp.exp()  # the mean of 0.8 and 0.4
        tensor([0.6000])
    """
    first = members[0][0]
    if not isinstance(first, LogitScores):
        return PooledScores([(cast(RowScores, scores), weight) for scores, weight in members], geometric)
    given = [(cast(LogitScores, scores), weight) for scores, weight in members]

    def in_place(rows: Tensor) -> Tensor:
        full = torch.zeros_like(first.logits, dtype=rows.dtype)
        full[first.mask] = rows
        return full

    plain = pool([(scores.logits[first.mask], weight) for scores, weight in given], geometric=geometric)
    tempered = plain
    if first.temperature != 1:  # a pool of flatter distributions is no flatter pool
        tempered = pool([(scores.loss_logits[first.mask], weight) for scores, weight in given], geometric=geometric)
    return LogitScores(
        in_place(plain),
        first.response_ids,
        first.mask,
        temperature=first.temperature,
        loss_logits=in_place(tempered),
    )
