"""Divergences of the student from targets, token by token, and their reduction to a loss."""

from dopd_lightning.divergence.advantage_target import Advantage
from dopd_lightning.divergence.formulas import divergence
from dopd_lightning.divergence.fused import Loss, fused_loss
from dopd_lightning.divergence.loss import loss_of
from dopd_lightning.divergence.own_token_target import TO_OWN_TOKEN, OwnToken
from dopd_lightning.divergence.pool_target import Pool
from dopd_lightning.divergence.reduction import Reduction, reduce_loss
from dopd_lightning.divergence.settings import Divergence, Kind, Support, Tail, TopKOf
from dopd_lightning.divergence.source_target import DistributionTarget, Toward
from dopd_lightning.divergence.target import Chunk, Outcomes, Target
from dopd_lightning.divergence.term import Term
from dopd_lightning.divergence.token_losses import token_losses

__all__ = [
    "TO_OWN_TOKEN",
    "Advantage",
    "Chunk",
    "DistributionTarget",
    "Divergence",
    "Kind",
    "Loss",
    "Outcomes",
    "OwnToken",
    "Pool",
    "Reduction",
    "Support",
    "Tail",
    "Target",
    "Term",
    "TopKOf",
    "Toward",
    "divergence",
    "fused_loss",
    "loss_of",
    "reduce_loss",
    "token_losses",
]
