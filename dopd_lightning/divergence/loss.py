"""The loss of a batch, by hidden states and heads where they can be had, else by logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from dopd_lightning.divergence.fused import Loss, fused_loss
from dopd_lightning.divergence.reduction import Reduction, reduce_loss
from dopd_lightning.divergence.term import Term
from dopd_lightning.divergence.token_losses import token_losses
from dopd_lightning.scores import LogitScores, RowScores, Scores, StateScores


def loss_of(
    student: Scores, sources: Mapping[str, Scores], terms: Sequence[Term], reduction: Reduction = "rollout"
) -> Loss:
    """`fused_loss`, or the same from logits; all scores have to be of one kind.

    Raises:
        ConfigError: as `token_losses` and `fused_loss`.
        ValueError: as these.

    Example:
        >>> import torch
        >>> from dopd_lightning.divergence import Divergence
        >>> ids, mask = torch.tensor([[0]]), torch.tensor([[True]])
        >>> student, teacher = (LogitScores(torch.tensor([[p]]).log(), ids, mask) for p in ([0.5, 0.5], [0.75, 0.25]))
        >>> loss_of(student, {"teacher": teacher}, [Term("all", "teacher", Divergence(), mask.float())]).loss
        tensor(0.1438)
    """
    if isinstance(student, StateScores):
        return fused_loss(student, cast(Mapping[str, RowScores], sources), terms, reduction)
    student = cast(LogitScores, student)
    logits = {name: cast(LogitScores, scores).loss_logits for name, scores in sources.items()}
    per_token = token_losses(student.loss_logits, logits, student.response_ids, terms)
    return Loss(reduce_loss(per_token, student.mask, reduction), per_token.detach())
