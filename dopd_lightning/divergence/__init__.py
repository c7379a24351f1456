"""Divergences of the student from targets, token by token, and their reduction to a loss."""

from dopd_lightning.divergence.advantage import Advantage
from dopd_lightning.divergence.dense import divergence
from dopd_lightning.divergence.fused import Loss, fused_loss
from dopd_lightning.divergence.loss import loss_of
from dopd_lightning.divergence.measure import Divergence, Kind, Support, Tail, TopKOf
from dopd_lightning.divergence.own_token import TO_OWN_TOKEN, OwnToken
from dopd_lightning.divergence.pool import Pool
from dopd_lightning.divergence.reduction import Reduction, reduce_loss
from dopd_lightning.divergence.target import Chunk, Outcomes, Target
from dopd_lightning.divergence.term import Term
from dopd_lightning.divergence.token_losses import token_losses
from dopd_lightning.divergence.toward import DistributionTarget, Toward

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
