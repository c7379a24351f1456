"""Loss from hidden states and heads, with logits of only a few tokens at a time.

The gradient is computed in the forward pass, where every token's weight in the loss is known, so that a chunk's logits
serve value and gradient at once; the backward pass only scales it. `dopd_lightning.divergence.chunked` does the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dopd_lightning.divergence.chunked import ChunkedLoss
from dopd_lightning.divergence.reduction import Reduction, reduction_coefficients
from dopd_lightning.divergence.term import Term
from dopd_lightning.errors import ConfigError
from dopd_lightning.inputs.response_mask import scattered
from dopd_lightning.scores import RowScores, StateScores
from dopd_lightning.scores.distribution import check_same_shape


class Loss(NamedTuple):
    """Loss of a batch.

    Attributes:
        loss: scalar. ``backward`` works only once on that of `fused_loss`.
        per_token: ``(batch, response)``, detached: sum over terms of weight times divergence, 0 where masked.
    """

    loss: Tensor
    per_token: Tensor


def fused_loss(
    student: StateScores, sources: Mapping[str, RowScores], terms: Sequence[Term], reduction: Reduction = "rollout"
) -> Loss:
    """``reduce_loss(token_losses(…), …)`` of the logits, with its gradient by the student's states and head alone.

    Args:
        student: the gradient goes to its ``graph`` and the weights of its head.
        sources: those that terms need, by name: of the same tokens, at the same temperature.
        terms: from a fusion rule; weights are ``(batch, response)``, and read where the mask is true.
        reduction: ``rollout`` or ``token``, see `reduce_loss`.

    Raises:
        ConfigError: if a term needs a source that is not given, or a ``top_k`` above the vocabulary.
        ValueError: if shapes, vocabularies or temperatures differ.

    Example:
        >>> from dopd_lightning.divergence import Divergence
        >>> from dopd_lightning.scores.head import Head
        >>> ids, mask, head = torch.tensor([[0]]), torch.tensor([[True]]), Head(torch.eye(2))
        >>> states = [torch.tensor([[p]]).log() for p in ([0.5, 0.5], [0.75, 0.25])]  # and logits
        >>> student, teacher = (StateScores(each, head, ids, mask) for each in states)
        >>> fused_loss(student, {"teacher": teacher}, [Term("all", "teacher", Divergence(), mask.float())]).loss
        tensor(0.1438)
    """
    for name, source in sources.items():
        _check_source(name, source, student)
    for term in terms:
        check_same_shape(f"term {term.name!r}", weight=term.weight, mask=student.mask)
        _check_term(term, sources, student.vocabulary_size)
    coefficients = reduction_coefficients(student.mask, reduction)[student.mask]
    work = ChunkedLoss(student, sources, [term.at(student.mask) for term in terms], coefficients)
    loss = _FusedLoss.apply(  # type: ignore[no-untyped-call]
        work, student.mask, torch.is_grad_enabled(), student.graph, student.head.weight, student.head.bias
    )
    return Loss(loss, scattered(work.per_token, student.mask))


def _check_source(name: str, source: RowScores, student: StateScores) -> None:
    for what, found, expected in (
        ("response tokens", len(source.ids), len(student.ids)),
        ("a vocabulary of", source.vocabulary_size, student.vocabulary_size),
        ("temperature", source.temperature, student.temperature),
    ):
        if found != expected:
            raise ValueError(f"fused_loss: the {name}'s scores have {what} {found}, the student's {expected}")


def _check_term(term: Term, sources: Mapping[str, RowScores], vocabulary_size: int) -> None:
    term.check_sources(sources)
    if term.divergence.support == "top_k" and term.divergence.top_k > vocabulary_size:
        raise ConfigError(
            f"top_k: {term.divergence.top_k} is above the vocabulary of {vocabulary_size} tokens; it must be at most "
            f"{vocabulary_size} (or use support 'full')"
        )


class _FusedLoss(torch.autograd.Function):
    """Autograd node of the loss. Gradients are kept in float32 or better, since they are scaled before rounding."""

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
        # No reference is kept, so that the largest gradient, the head's, becomes .grad without a copy.
        gradient, ctx.gradient = ctx.gradient, None
        given = gradient.states, gradient.weight, gradient.bias
        states, weight, bias = (
            None if each is None else each.mul_(scale).to(dtype) for each, dtype in zip(given, ctx.dtypes, strict=True)
        )
        return None, None, None, None if states is None else scattered(states, ctx.mask), weight, bias
