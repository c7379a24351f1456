"""Loss per token from terms and logits: the plain reference of `fused_loss`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from dopd_lightning.divergence.term import Term
from dopd_lightning.scores.distribution import check_same_shape


def token_losses(
    student_logits: Tensor, source_logits: Mapping[str, Tensor], response_ids: Tensor, terms: Iterable[Term]
) -> Tensor:
    """Sum over terms of weight times divergence, for each response token.

    A term is computed only on the tokens where its weight is not 0. Nothing else is read: other positions may hold any
    logits and any ids. The result hangs on the student's graph even when no token is selected, so that every
    process has a backward pass.

    Args:
        student_logits: ``(batch, response, vocab)``, each predicting the response token at its place.
        source_logits: ``(batch, response, vocab)`` by name, of the sources that the terms need.
        response_ids: ``(batch, response)``, the sampled tokens.
        terms: from a fusion rule.

    Returns:
        ``(batch, response)``, float32 or better, 0 where no term selects the token.

    Raises:
        ConfigError: if a term needs a source that is not given, or a ``top_k`` above the vocabulary.
        ValueError: if shapes do not match.

    Example:
        >>> from dopd_lightning.divergence import Divergence
        >>> student, teacher = torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.75, 0.25]]]).log()
        >>> term = Term("half", "teacher", Divergence(), torch.tensor([[0.5]]))
        >>> token_losses(student, {"teacher": teacher}, torch.tensor([[0]]), [term])  # half of KL(student ‖ teacher)
        tensor([[0.0719]])
    """
    check_same_shape("token_losses", student=student_logits, **source_logits)
    losses = torch.zeros_like(response_ids, dtype=torch.promote_types(student_logits.dtype, torch.float32))
    losses = losses + student_logits[:0].sum()  # attaches the graph without reading a logit: 0 * inf would be NaN
    for term in terms:
        check_same_shape(f"term {term.name!r}", weight=term.weight, response_ids=response_ids)
        term.check_sources(source_logits)
        selected = term.weight != 0
        here = term.at(selected)
        sources = {name: source_logits[name][selected] for name in here.target.sources}
        values = here.target.of_logits(student_logits[selected], response_ids[selected], sources, here.divergence)
        weighted = (here.weight * values).to(losses.dtype)
        losses = losses.index_put(selected.nonzero(as_tuple=True), weighted, accumulate=True)
    return losses
