"""The response's own token as the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dopd_lightning.divergence.gradients import one_token_
from dopd_lightning.divergence.settings import Divergence
from dopd_lightning.divergence.target import Chunk, Target
from dopd_lightning.errors import ConfigError
from dopd_lightning.scores import RowScores
from dopd_lightning.scores.distribution import at_ids, log_probs

TO_OWN_TOKEN = Divergence(kind="forward_kl")
"""The divergence of a term with this target: the only finite one to a single token."""


@dataclass(frozen=True, eq=False)
class OwnToken(Target):
    """Toward the response's own token, or away from it: ``-A log student(y)``.

    With an advantage A of 1 this is the forward KL from the one-hot distribution on y, supervised fine-tuning. With
    signed advantages, on responses that the student wrote, its gradient is a policy gradient.

    Attributes:
        advantage: A; a number for all tokens, ``(batch, response)``, or one a rollout, ``(batch,)``.

    Example:
        >>> logits, ids = torch.tensor([[0.25, 0.75]]).log(), torch.tensor([1])
        >>> OwnToken(advantage=2.0).of_logits(logits, ids, {}, Divergence(kind="forward_kl"))  # -2 log 0.75
        tensor([0.5754])
    """

    advantage: float | Tensor = 1.0

    @property
    def sources(self) -> frozenset[str]:
        return frozenset()

    def at(self, mask: Tensor) -> Target:
        given = self.advantage
        if not isinstance(given, Tensor) or given.ndim == 0:
            return self
        return replace(
            self, advantage=(given if given.ndim == mask.ndim else given.unsqueeze(-1)).expand_as(mask)[mask]
        )

    def check(self, name: str, how: Divergence) -> None:
        if (how.kind, how.support) != ("forward_kl", "full"):
            raise ConfigError(
                f"term {name!r}: target 'data' has {how.kind} over {how.support}; "
                "the only finite divergence to a single token is forward_kl over full"
            )

    def of_logits(self, student: Tensor, ids: Tensor, sources: Mapping[str, Tensor], how: Divergence) -> Tensor:
        return -self.advantage * at_ids(log_probs(student), ids)

    def of_chunk(self, chunk: Chunk, sources: Mapping[str, RowScores], how: Divergence) -> tuple[Tensor, Tensor]:
        logp = at_ids(chunk.student, chunk.ids)
        given = self.advantage
        advantage = given[chunk.tokens] if isinstance(given, Tensor) and given.ndim else given
        advantage = torch.as_tensor(advantage, dtype=logp.dtype, device=logp.device)
        one_token_(chunk.student, chunk.ids, torch.zeros_like(logp) - advantage, chunk.out)
        return -advantage * logp, chunk.out
