"""A policy at the response tokens, by its logits."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from dopd_lightning.scores.distribution import at_ids, check_same_shape, entropy, log_probs


class LogitScores:
    """Scores from logits that are there: the plain way, and the one where a head cannot be read.

    Args:
        logits: ``(batch, response, vocab)``, each predicting the response token at its place.
        response_ids: ``(batch, response)``, the sampled tokens.
        mask: ``(batch, response)``, true at response tokens; nothing is read elsewhere.
        temperature: of the loss: all logits are divided by it, but those of ``logp`` and ``entropy``.
        loss_logits: ``(batch, response, vocab)``, at that temperature, where they are not ``logits`` divided by it.
        owner: ``(tokens,)``, see `Scores`.

    Raises:
        ValueError: if shapes do not match.
    """

    def __init__(
        self,
        logits: Tensor,
        response_ids: Tensor,
        mask: Tensor,
        *,
        temperature: float = 1.0,
        loss_logits: Tensor | None = None,
        owner: Tensor | None = None,
    ) -> None:
        check_same_shape("LogitScores", response_ids=response_ids, mask=mask, logits=logits[..., 0])
        self.logits = logits
        self.response_ids = response_ids
        self.mask = mask.bool()
        self.temperature = temperature
        self.owner = owner
        self._loss_logits = loss_logits

    @cached_property
    def logp(self) -> Tensor:
        """``(tokens,)``, log-probability of the response token."""
        return at_ids(self._log_probs(), self.response_ids[self.mask])

    @cached_property
    def entropy(self) -> Tensor:
        """``(tokens,)``, in nats."""
        return entropy(self._log_probs())

    def likeliest(self, top_k: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scores.likeliest`."""
        rows = log_probs(self.loss_logits.detach()[self.mask][tokens])
        logps, ids = rows.topk(min(top_k, rows.shape[-1]))
        return ids, logps

    @property
    def loss_logits(self) -> Tensor:
        """``(batch, response, vocab)``, at the loss temperature; 16 bits are widened before the division."""
        if self._loss_logits is not None:
            return self._loss_logits
        if self.temperature == 1:
            return self.logits
        return self.logits.to(torch.promote_types(self.logits.dtype, torch.float32)) / self.temperature

    def _log_probs(self) -> Tensor:
        return log_probs(self.logits.detach()[self.mask])
