"""From terms to a loss per token."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import torch
from torch import Tensor

from dopd_lightning.divergence.dense import divergence
from dopd_lightning.divergence.term import Pool, Term
from dopd_lightning.errors import ConfigError
from dopd_lightning.scores.distribution import at_ids, check_same_shape, log_probs


def token_losses(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    reference_logits: Tensor | None,
    response_ids: Tensor,
    terms: Iterable[Term],
) -> Tensor:
    """Sum over terms of weight times divergence, for each response token.

    A term is computed only on the tokens where its weight is not 0. Nothing else is read: other positions may hold any
    logits and any ids. The result hangs on the student's graph even when no token is selected, so that every
    process has a backward pass.

    Args:
        student_logits: ``(batch, response, vocab)``, each predicting the response token at its place.
        teacher_logits: ``(batch, response, vocab)``, or None if no term needs them.
        reference_logits: ``(batch, response, vocab)``, or None if no term needs them.
        response_ids: ``(batch, response)``, the sampled tokens.
        terms: from a fusion rule.

    Returns:
        ``(batch, response)``, float32 or better, 0 where no term selects the token.

    Raises:
        ConfigError: if a term needs a source that is not given, or a ``top_k`` above the vocabulary.
        ValueError: if shapes do not match.
    """
    check_same_shape("token_losses", student=student_logits, teacher=teacher_logits, reference=reference_logits)
    losses = torch.zeros_like(response_ids, dtype=torch.promote_types(student_logits.dtype, torch.float32))
    losses = losses + student_logits[:0].sum()  # attaches the graph without reading a logit: 0 * inf would be NaN
    for term in terms:
        check_same_shape(f"term {term.name!r}", weight=term.weight, response_ids=response_ids)
        rows = term.weight.nonzero(as_tuple=True)
        student, ids = student_logits[rows], response_ids[rows]
        if term.target == "data":
            per_row = -at_ids(log_probs(student), ids)
        else:
            target = _target(term, rows, teacher_logits, reference_logits)
            per_row = divergence(student, target, sampled_ids=ids, **asdict(term.divergence))
        weighted = term.weight[rows] * per_row
        losses = losses.index_put(rows, weighted.to(losses.dtype), accumulate=True)
    return losses


def _target(term: Term, rows: tuple[Tensor, ...], teacher: Tensor | None, reference: Tensor | None) -> Tensor:
    """The term's target logits at the selected tokens, ``(tokens, vocab)``."""

    def source(name: str, logits: Tensor | None) -> Tensor:
        if logits is None:
            raise ConfigError(f"term {term.name!r}: needs the {name}'s logits, found None")
        return logits[rows]

    if not isinstance(term.target, Pool):
        return source(term.target, teacher if term.target == "teacher" else reference)
    teacher_rows, reference_rows = source("teacher", teacher), source("reference", reference)
    dtype = torch.promote_types(teacher_rows.dtype, torch.float32)
    weight = torch.as_tensor(term.target.teacher_weight, dtype=dtype, device=teacher_rows.device)
    weight = weight[rows].unsqueeze(-1) if weight.ndim else weight
    return pool(teacher_rows, reference_rows, weight, geometric=term.target.geometric)


def pool(teacher_logits: Tensor, reference_logits: Tensor, teacher_weight: Tensor, *, geometric: bool) -> Tensor:
    """Logits of the pooled target, see `Pool`.

    Args:
        teacher_logits: ``(..., vocab)``.
        reference_logits: ``(..., vocab)``.
        teacher_weight: broadcasts against ``(..., vocab)``.
        geometric: log-linear instead of linear.

    Returns:
        ``(..., vocab)``.
    """
    return mix(log_probs(teacher_logits.detach()), log_probs(reference_logits.detach()), teacher_weight, geometric)


def mix(teacher: Tensor, reference: Tensor, teacher_weight: Tensor, geometric: bool) -> Tensor:
    """As `pool`, of log-probabilities; a geometric pool's do not sum to 1."""
    if geometric:
        return teacher_weight * teacher + (1 - teacher_weight) * reference
    return torch.logaddexp(teacher + teacher_weight.log(), reference + (-teacher_weight).log1p())
