"""How far the student is from a target, token by token, and how the tokens become one loss."""

from dopd_lightning.divergence.dense import divergence
from dopd_lightning.divergence.engine import token_losses
from dopd_lightning.divergence.reduction import Reduction, reduce_loss
from dopd_lightning.divergence.term import Divergence, Kind, Pool, Support, Tail, Target, Term, TopKOf

__all__ = [
    "Divergence",
    "Kind",
    "Pool",
    "Reduction",
    "Support",
    "Tail",
    "Target",
    "Term",
    "TopKOf",
    "divergence",
    "reduce_loss",
    "token_losses",
]
