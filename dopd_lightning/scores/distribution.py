"""Categorical distributions as log-probabilities."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

EXCLUDED = -1e30
"""Logit of an excluded token: its probability is exactly 0 and products with it are 0, where -inf would give NaN."""

LOG_PROB_FLOOR = -1e4
"""Lowest log-probability. An outcome that a policy excludes (logit -inf) then costs much but finitely, and the
arithmetic of divergences needs no special case: exp(-1e4) is exactly 0, and there is no inf - inf or 0 * inf."""


def log_probs(logits: Tensor) -> Tensor:
    """Log-probabilities in float32 or better, none below ``LOG_PROB_FLOOR``.

    The floor is in the value alone: the gradient is that of the log-softmax, so that a student can come back from it.

    Args:
        logits: ``(..., vocab)``, of any floating dtype; -inf is allowed, but not everywhere in a row.

    Returns:
        ``(..., vocab)``.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return floored(F.log_softmax(logits, dim=-1, dtype=dtype))


def floored(log_probs: Tensor) -> Tensor:
    """The same, none below ``LOG_PROB_FLOOR``, with the gradient of what was given."""
    result: Tensor = _Floor.apply(log_probs)  # type: ignore[no-untyped-call]
    return result


class _Floor(torch.autograd.Function):
    """A clamp, whose own gradient would be 0 below the floor; a difference of detached values would be inf - inf."""

    @staticmethod
    def forward(ctx, log_probs):  # type: ignore[no-untyped-def]
        return log_probs.clamp(min=LOG_PROB_FLOOR)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return gradient


def at_ids(log_probs: Tensor, ids: Tensor) -> Tensor:
    """Entries of ``log_probs`` ``(..., vocab)`` at ``ids`` ``(...)``; returns ``(...)``."""
    return log_probs.gather(-1, ids.unsqueeze(-1)).squeeze(-1)


def entropy(log_probs: Tensor) -> Tensor:
    """Shannon entropy in nats of ``log_probs`` ``(..., vocab)``; returns ``(...)``."""
    return -(log_probs.exp() * log_probs).sum(-1)


def check_same_shape(place: str, **tensors: Tensor | None) -> None:
    """Refuse tensors of different shapes; ``None`` stands for a tensor that was not given.

    Raises:
        ValueError: naming ``place``, and each tensor with its shape.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if tensor is not None}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{place}: shapes must be the same, found {found}")
