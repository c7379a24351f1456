"""Scores of a policy at the response tokens from hidden states and head, without the logits of all tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dopd_lightning.scores.distribution import EXCLUDED, LOG_PROB_FLOOR, at_ids, check_same_shape
from dopd_lightning.scores.head import Head
from dopd_lightning.scores.rows import blocks, normalize_, subtract_normalizer_, tail_log_probability_
from dopd_lightning.scores.table import Table
from dopd_lightning.scores.workspace import LOSS_MEMORY, Workspace


class StateScores:
    """Scores of a policy from hidden states and its head, computed when first asked for and kept.

    Logits are computed for a few tokens at a time and discarded. Only ``graph`` has a gradient.

    Args:
        states: ``(batch, response, width)``, hidden states, each predicting the response token at its place.
        head: maps them to logits.
        response_ids: ``(batch, response)``, the sampled tokens.
        mask: ``(batch, response)``, true at response tokens; nothing is read elsewhere.
        top_k: how many of the likeliest tokens to keep; 0 for none.
        temperature: of the loss; ``logp`` and ``entropy`` are at temperature 1.
        memory: MiB for logits.

    Attributes:
        graph: ``states`` as given.
        states: ``(tokens, width)``, of the response tokens in the mask's order.
        ids: ``(tokens,)``, the response tokens.

    Raises:
        ValueError: if shapes do not match.
    """

    buffers = 0
    owner: Tensor | None = None

    def __init__(
        self,
        states: Tensor,
        head: Head,
        response_ids: Tensor,
        mask: Tensor,
        *,
        top_k: int = 0,
        temperature: float = 1.0,
        memory: float = LOSS_MEMORY,
    ) -> None:
        check_same_shape("StateScores", states=states[..., 0], response_ids=response_ids, mask=mask)
        self.head = head
        self.graph = states
        self.mask = mask.bool()
        self.states = _as_factor(states.detach()[self.mask], head)
        self.ids = response_ids[self.mask]
        self.temperature = temperature
        self.memory = memory
        self.top_k = min(top_k, head.vocabulary_size)
        tokens, kind = len(self.ids), torch.promote_types(self.states.dtype, torch.float32)
        new = torch.empty(5, tokens, dtype=kind, device=states.device)
        self._logp, self._entropy, self._loss_logp, self._normalizer, tail = new.unbind()
        self._table = Table(
            torch.empty(tokens, self.top_k, dtype=torch.int32, device=states.device),
            torch.empty(tokens, self.top_k, dtype=kind, device=states.device),
            tail,
        )
        self._known = torch.zeros(tokens, dtype=torch.bool, device=states.device)

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens that a distribution is over."""
        return self.head.vocabulary_size

    @property
    def logp(self) -> Tensor:
        """``(tokens,)``, log-probability of the response token."""
        return self._of(self._logp)

    @property
    def entropy(self) -> Tensor:
        """``(tokens,)``, in nats."""
        return self._of(self._entropy)

    @property
    def loss_logp(self) -> Tensor:
        """Log-probability of the response token at the loss temperature, ``(tokens,)``."""
        return self._of(self._loss_logp)

    def normalizer(self, tokens: Tensor) -> Tensor:
        """Log of the sum of exp(logits / loss temperature), ``(n,)``, for ``tokens`` ``(n,)``."""
        self._learn(tokens)
        return self._normalizer[tokens]

    def table(self, top_k: int, tokens: Tensor) -> Table:
        """See `RowScores.table`."""
        self._learn(tokens)
        return self._table.first(top_k, tokens)

    def log_probs(self, tokens: Tensor, out: Tensor, spare: Sequence[Tensor] = (), *, tempered: bool = True) -> Tensor:
        """See `RowScores.log_probs`."""
        self.head.logits(self.states[tokens], out)
        if not tempered and self.temperature != 1:
            normalize_(out)
            return out
        if not self._known[tokens].all():
            self._note(tokens, out)
            return out
        if self.temperature != 1:
            out /= self.temperature
        return out.sub_(self._normalizer[tokens].unsqueeze(-1)).clamp_(min=LOG_PROB_FLOOR)

    def log_probs_at(self, tokens: Tensor, ids: Tensor) -> Tensor:
        """See `RowScores.log_probs_at`."""
        self._learn(tokens)
        logits = self.head.logits_at(self.states[tokens], ids).div_(self.temperature)
        return logits.sub_(self._normalizer[tokens].unsqueeze(-1)).clamp_(min=LOG_PROB_FLOOR)

    @torch.no_grad()
    def likeliest(self, top_k: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scores.likeliest`."""
        top_k = min(top_k, self.head.vocabulary_size)
        ids = torch.empty(len(tokens), top_k, dtype=torch.long, device=tokens.device)
        logps = torch.empty(len(tokens), top_k, dtype=self._logp.dtype, device=tokens.device)
        space = Workspace(self.memory, self.head.vocabulary_size, self.states)
        with torch.autocast(self.states.device.type, enabled=False):
            for places, (rows,) in space.chunks(torch.arange(len(tokens), device=tokens.device), 1):
                logps[places], ids[places] = self.log_probs(tokens[places], rows).topk(top_k)
        return ids, logps

    def _of(self, values: Tensor) -> Tensor:
        self._learn(torch.arange(len(self.ids), device=self.ids.device))
        return values

    @torch.no_grad()
    def _learn(self, tokens: Tensor) -> None:
        """Compute the statistics of those ``tokens`` ``(n,)`` that have none yet."""
        unknown = tokens[~self._known[tokens]]
        if len(unknown) == 0:
            return
        space = Workspace(self.memory, self.head.vocabulary_size, self.states)
        with torch.autocast(self.states.device.type, enabled=False):
            for chunk, (rows,) in space.chunks(unknown, 1):
                self._note(chunk, self.head.logits(self.states[chunk], rows))

    def _note(self, tokens: Tensor, rows: Tensor) -> None:
        """Keep statistics of logits ``(n, vocab)``, and turn these into log-probabilities at the loss temperature."""
        ids = self.ids[tokens]
        normalizer = subtract_normalizer_(rows)
        self._logp[tokens] = at_ids(rows, ids).clamp_(min=LOG_PROB_FLOOR)
        self._entropy[tokens] = 0
        for (block,) in blocks(rows):
            floored = block.clamp(min=LOG_PROB_FLOOR)
            self._entropy[tokens] -= (floored.exp() * floored).sum(-1)
        if self.temperature != 1:
            normalizer = normalizer / self.temperature + subtract_normalizer_(rows.div_(self.temperature))
        rows.clamp_(min=LOG_PROB_FLOOR)
        self._normalizer[tokens] = normalizer
        self._loss_logp[tokens] = at_ids(rows, ids)
        if self.top_k:
            top = rows.topk(self.top_k)
            self._table.ids[tokens], self._table.logps[tokens] = top.indices.int(), top.values
            if self.top_k == self.vocabulary_size:
                self._table.tail_logp[tokens] = EXCLUDED  # at the floor it would count as one more unlikely token
            else:
                self._table.tail_logp[tokens] = tail_log_probability_(rows, top.indices).squeeze(-1)
                rows.scatter_(-1, top.indices, top.values)
        self._known[tokens] = True


def _as_factor(states: Tensor, head: Head) -> Tensor:
    """Return the states in the dtype of the head's products: autocast's where it is on, as in the model itself."""
    kind = states.device.type
    if torch.is_autocast_enabled(kind):
        return states.to(torch.get_autocast_dtype(kind))
    return states.to(torch.promote_types(states.dtype, head.weight.dtype))
