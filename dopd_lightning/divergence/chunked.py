"""Computation of `fused_loss`: tokens with the same terms together, one chunk at a time.

A token whose terms need the student's full distribution takes three products with the head: logits, gradient by the
states, gradient by the weights. A token that is compared over K renormalized tokens takes K rows of the head. A
source's logits are computed only for terms that compare its full distribution; others use values kept in its scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dopd_lightning.divergence.gradients import outcomes
from dopd_lightning.divergence.target import Chunk
from dopd_lightning.divergence.term import Term
from dopd_lightning.scores import RowScores, StateScores
from dopd_lightning.scores.head import HeadGradient
from dopd_lightning.scores.workspace import Workspace


class ChunkedLoss:
    """One evaluation of the loss over response tokens.

    Args:
        student: of the response tokens.
        sources: those that terms need.
        terms: with weights ``(tokens,)``.
        coefficients: ``(tokens,)``, each token's share in the reduction.

    Attributes:
        per_token: ``(tokens,)``, sum of weighted divergences.
        gradient: of the loss by the student's states and head.
    """

    def __init__(
        self, student: StateScores, sources: Mapping[str, RowScores], terms: Sequence[Term], coefficients: Tensor
    ) -> None:
        self.student = student
        self.sources = sources
        self.terms = terms
        self.coefficients = coefficients
        self.space = Workspace(student.memory, student.head.vocabulary_size, student.states)
        self.per_token = torch.zeros(len(student.ids), dtype=self.space.dtype, device=student.ids.device)
        self.gradient = HeadGradient(student.head, None, None, None)

    @torch.no_grad()
    def compute(self, for_states: bool, for_weight: bool, for_bias: bool) -> Tensor:
        """Compute the attributes, and return the loss, a scalar."""

        def zeros(like: Tensor | None, needed: bool) -> Tensor | None:
            if like is None or not needed:
                return None
            return torch.zeros(like.shape, dtype=self.space.dtype, device=like.device)

        head = self.student.head
        self.gradient = HeadGradient(
            head, zeros(self.student.states, for_states), zeros(head.weight, for_weight), zeros(head.bias, for_bias)
        )
        with torch.autocast(self.per_token.device.type, enabled=False):
            for tokens, terms in self._groups():
                if all(self._is_sparse(term) for term in terms):
                    for term in terms:
                        self._sparse(tokens, term)
                else:
                    self._dense(tokens, terms)
        return (self.per_token * self.coefficients).sum()

    def _groups(self) -> list[tuple[Tensor, list[Term]]]:
        """Group tokens ``(n,)`` by the set of terms with non-zero weight."""
        if not self.terms or len(self.per_token) == 0:
            return []
        selected = torch.stack([term.weight != 0 for term in self.terms], dim=1)
        patterns, group = torch.unique(selected, dim=0, return_inverse=True)
        return [
            ((group == number).nonzero().squeeze(-1), [self.terms[i] for i, has in enumerate(pattern) if has])
            for number, pattern in enumerate(patterns.tolist())
        ]

    def _record(self, tokens: Tensor, term: Term, value: Tensor, gradient: Tensor) -> None:
        """Add a term's weighted values ``(n,)``, and weight its gradient ``(n, …)`` by logits / temperature."""
        weight = term.weight[tokens].to(value.dtype)
        self.per_token[tokens] += weight * value
        gradient *= (weight * self.coefficients[tokens] / self.student.temperature).unsqueeze(-1)

    # ------------------------------------------------------------------------------- terms that need K rows of a head

    def _is_sparse(self, term: Term) -> bool:
        return term.target.keeps_outcomes(self.student, self.sources, term.divergence)

    def _sparse(self, tokens: Tensor, term: Term) -> None:
        how, student = term.divergence, self.student
        # K rows of the head a token, twice for their gradient, and as much again for torch's intermediate copies.
        size = max(1, self.space.numbers // (8 * how.top_k * student.states.shape[1]))
        for chunk in torch.split(tokens, size):
            ids, target = term.target.kept_outcomes(chunk, student, self.sources, how)
            states = student.states[chunk]
            logits = student.head.logits_at(states, ids)
            value, gradient = outcomes(logits / student.temperature, target, how.kind, how.beta)
            self._record(chunk, term, value, gradient)
            student.head.to_product_(gradient, logits)
            self.gradient.add_at(chunk, states, gradient, ids)

    # ------------------------------------------------------------------- terms that need the student's distribution

    def _dense(self, tokens: Tensor, terms: Sequence[Term]) -> None:
        student, several = self.student, len(terms) > 1
        # A gradient may overwrite the student's distribution if no other term needs it.
        in_place = not several and student.head.softcap is None
        spare = max(term.target.buffers(self.sources, term.divergence) for term in terms)
        buffers = 1 + max(spare, 0 if in_place else 1) + several
        for chunk, (rows, *more) in self.space.chunks(tokens, buffers):
            student.log_probs(chunk, rows)
            total = more.pop().zero_() if several else None
            out = rows if in_place else more[0]
            for term in terms:
                work = Chunk(chunk, student.ids[chunk], rows, out, more)
                value, gradient = term.target.of_chunk(work, self.sources, term.divergence)
                self._record(chunk, term, value, gradient)
                if total is not None:
                    gradient = total.add_(gradient)
            if student.head.softcap is not None:  # which needs the logits again
                rows.add_(student.normalizer(chunk).unsqueeze(-1)).mul_(student.temperature)
            student.head.to_product_(gradient, rows)
            self.gradient.add(chunk, student.states[chunk], gradient)
