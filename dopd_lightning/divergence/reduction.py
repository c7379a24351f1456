"""Reduction of losses per token to a scalar."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from dopd_lightning.distributed.processes import number_of_processes, summed
from dopd_lightning.errors import check_choice

Reduction: TypeAlias = Literal["rollout", "token"]


def reduce_loss(per_token: Tensor, mask: Tensor, reduction: Reduction = "rollout") -> Tensor:
    """Reduce to a scalar.

    ``rollout`` is the paper's objective: the mean over each rollout's own tokens, then over rollouts. A rollout
    without a token gives 0 and still counts, so that the mean of equal micro-batches' losses is the loss of the whole
    batch. ``token`` is one mean over all tokens: long rollouts weigh more. Under torch.distributed the denominator is
    the mean of the processes' counts, of rollouts or tokens, so that the mean of their losses, and of their gradients,
    is that of the whole batch, however unevenly they share it; every process has to call it.

    Args:
        per_token: ``(batch, response)``.
        mask: ``(batch, response)``, true at response tokens.
        reduction: ``rollout`` or ``token``.

    Returns:
        Scalar; 0 if there is no token.

    Raises:
        ConfigError: for another reduction.

    Example:
        >>> per_token, mask = torch.tensor([[1.0, 3.0], [5.0, 0.0]]), torch.tensor([[True, True], [True, False]])
        >>> reduce_loss(per_token, mask)  # the mean of 2 and 5
        tensor(3.5000)
        >>> reduce_loss(per_token, mask, "token")
        tensor(3.)
    """
    kept = torch.where(mask.bool(), per_token, torch.zeros_like(per_token))  # not a product: it may be inf or NaN there
    return (kept * reduction_coefficients(mask, reduction)).sum()


def reduction_coefficients(mask: Tensor, reduction: Reduction = "rollout") -> Tensor:
    """Each token's share in the loss: `reduce_loss` is the sum of the losses per token times these.

    Args:
        mask: ``(batch, response)``, true at response tokens.
        reduction: ``rollout`` or ``token``, see `reduce_loss`.

    Returns:
        ``(batch, response)``, float32, 0 where masked.

    Raises:
        ConfigError: for another reduction.
    """
    check_choice("reduction", reduction, get_args(Reduction))
    mask = mask.bool()
    share = mask if reduction == "token" else mask / mask.sum(-1, keepdim=True).clamp(min=1)
    count = mask.sum() if reduction == "token" else torch.tensor(len(mask), device=mask.device)
    mean_over_processes = summed(count.float()) / number_of_processes()
    return share / mean_over_processes.clamp(min=torch.finfo(torch.float32).tiny)
