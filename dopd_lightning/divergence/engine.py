"""From hidden states and heads to the loss, without logits of more than a few tokens at a time.

The gradient is computed in the forward pass: every token's weight in the loss is known by then, so a chunk's logits
serve value and gradient at once, and backward only scales what is there. `dopd_lightning.divergence.chunked` does the
work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dopd_lightning.divergence.chunked import ChunkedLoss
from dopd_lightning.divergence.reduction import Reduction, reduction_coefficients
from dopd_lightning.divergence.term import Pool, Term
from dopd_lightning.errors import ConfigError
from dopd_lightning.scores.by_states import Scores
from dopd_lightning.scores.distribution import check_same_shape


class Loss(NamedTuple):
    """A loss, and what it is made of.

    Attributes:
        loss: scalar, to call ``backward`` on (once, if it is `fused_loss`'s).
        per_token: ``(batch, response)``, detached: sum over terms of weight times divergence, 0 where masked.
    """

    loss: Tensor
    per_token: Tensor


def fused_loss(
    student: Scores, sources: Mapping[str, Scores], terms: Sequence[Term], reduction: Reduction = "rollout"
) -> Loss:
    """``reduce_loss(token_losses(…), …)`` of the logits, with its gradient by the student's states and head alone.

    Args:
        student: its ``graph`` and the weights of its head get the gradient.
        sources: ``teacher`` and ``reference``, as far as terms need them: of the same tokens, at the same temperature.
        terms: from a fusion rule; weights are ``(batch, response)``, and read where the mask is true.
        reduction: ``rollout`` or ``token``, see `reduce_loss`.

    Raises:
        ConfigError: if a term needs a source that is not given, or a ``top_k`` above the vocabulary.
        ValueError: if shapes, vocabularies or temperatures differ.
    """
    for name, source in sources.items():
        _check_source(name, source, student)
    for term in terms:
        check_same_shape(f"term {term.name!r}", weight=term.weight, mask=student.mask)
        _check_term(term, sources, student.head.vocabulary_size)
    coefficients = reduction_coefficients(student.mask, reduction)[student.mask]
    work = ChunkedLoss(student, sources, [_at_tokens(term, student.mask) for term in terms], coefficients)
    loss = _FusedLoss.apply(  # type: ignore[no-untyped-call]
        work, student.mask, torch.is_grad_enabled(), student.graph, student.head.weight, student.head.bias
    )
    return Loss(loss, _in_place(work.per_token, student.mask))


def _in_place(values: Tensor, mask: Tensor) -> Tensor:
    """One value a response token, ``(tokens, …)``, where the mask is true, and 0 elsewhere."""
    full = torch.zeros(*mask.shape, *values.shape[1:], dtype=values.dtype, device=values.device)
    full[mask] = values
    return full


def _at_tokens(term: Term, mask: Tensor) -> Term:
    target = term.target
    if isinstance(target, Pool) and isinstance(target.teacher_weight, Tensor) and target.teacher_weight.ndim:
        target = replace(target, teacher_weight=target.teacher_weight[mask])
    return replace(term, target=target, weight=term.weight[mask])


def _check_source(name: str, source: Scores, student: Scores) -> None:
    for what, found, expected in (
        ("response tokens", len(source.ids), len(student.ids)),
        ("a vocabulary of", source.head.vocabulary_size, student.head.vocabulary_size),
        ("temperature", source.temperature, student.temperature),
    ):
        if found != expected:
            raise ValueError(f"fused_loss: the {name}'s scores have {what} {found}, the student's {expected}")


def _check_term(term: Term, sources: Mapping[str, Scores], vocabulary_size: int) -> None:
    for name in ("teacher", "reference") if isinstance(term.target, Pool) else (term.target,):
        if name != "data" and name not in sources:
            raise ConfigError(f"term {term.name!r}: needs the {name}'s scores, found none")
    if term.divergence.support == "top_k" and term.divergence.top_k > vocabulary_size:
        raise ConfigError(
            f"top_k: {term.divergence.top_k} is above the vocabulary of {vocabulary_size} tokens; it must be at most "
            f"{vocabulary_size} (or use support 'full')"
        )


class _FusedLoss(torch.autograd.Function):
    """Hands out what was computed. Gradients wait in float32 or better: they are scaled before they are rounded."""

    @staticmethod
    def forward(ctx, work, mask, differentiable, states, weight, bias):  # type: ignore[no-untyped-def]
        loss = work.compute(*(differentiable and needed for needed in ctx.needs_input_grad[3:]))
        ctx.mask = mask
        ctx.gradient = work.gradient
        ctx.dtypes = states.dtype, weight.dtype, None if bias is None else bias.dtype
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, scale):  # type: ignore[no-untyped-def]
        if ctx.gradient is None:
            raise RuntimeError("fused_loss: backward was called a second time; its gradients were given away the first")
        # Nothing is kept, so that the largest, the head's, becomes .grad without a copy.
        gradient, ctx.gradient = ctx.gradient, None
        given = gradient.states, gradient.weight, gradient.bias
        states, weight, bias = (
            None if each is None else each.mul_(scale).to(dtype) for each, dtype in zip(given, ctx.dtypes, strict=True)
        )
        return None, None, None, None if states is None else _in_place(states, ctx.mask), weight, bias
