"""How far the student is from a target, token by token, and how the tokens become one loss."""

from dopd_lightning.divergence.dense import divergence
from dopd_lightning.divergence.engine import Loss, fused_loss
from dopd_lightning.divergence.loss import loss_of
from dopd_lightning.divergence.reduction import Reduction, reduce_loss
from dopd_lightning.divergence.term import Divergence, Kind, Pool, Support, Tail, Target, Term, TopKOf
from dopd_lightning.divergence.token_losses import token_losses

__all__ = [
    "Divergence",
    "Kind",
    "Loss",
    "Pool",
    "Reduction",
    "Support",
    "Tail",
    "Target",
    "Term",
    "TopKOf",
    "divergence",
    "fused_loss",
    "loss_of",
    "reduce_loss",
    "token_losses",
]
