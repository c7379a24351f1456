"""The work behind `fused_loss`: tokens with the same terms together, a chunk at a time.

A token whose terms need the student's full distribution takes three products with its head: logits, gradient by the
states, gradient by the weights. A token that is compared over K renormalized tokens takes K rows of the head. A
source's logits are made where a term compares full distributions with it; elsewhere what its scores keep will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dopd_lightning.divergence.gradients import (
    full_,
    one_token_,
    outcomes,
    single_sample,
    top_k_,
)
from dopd_lightning.divergence.term import Pool, Term
from dopd_lightning.divergence.token_losses import mix
from dopd_lightning.scores import Scores
from dopd_lightning.scores.distribution import at_ids
from dopd_lightning.scores.head import HeadGradient
from dopd_lightning.scores.rows import blocks, normalize_, tail_log_probability_
from dopd_lightning.scores.workspace import Workspace


class ChunkedLoss:
    """One evaluation of the loss over response tokens.

    Args:
        student: of the response tokens.
        sources: as far as terms need them.
        terms: weights, and those of pools, are ``(tokens,)``.
        coefficients: ``(tokens,)``, each token's share in the reduction.

    Attributes:
        per_token: ``(tokens,)``, weighted divergence.
        gradient: of the loss, by the student's states and head.
    """

    def __init__(
        self, student: Scores, sources: Mapping[str, Scores], terms: Sequence[Term], coefficients: Tensor
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
        """Fill the attributes, and return the loss, a scalar."""

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
        """Tokens ``(n,)`` with the terms that they, and all of them, have."""
        if not self.terms or len(self.per_token) == 0:
            return []
        selected = torch.stack([term.weight != 0 for term in self.terms], dim=1)
        patterns, group = torch.unique(selected, dim=0, return_inverse=True)
        return [
            ((group == number).nonzero().squeeze(-1), [self.terms[i] for i, has in enumerate(pattern) if has])
            for number, pattern in enumerate(patterns.tolist())
        ]

    def _record(self, tokens: Tensor, term: Term, value: Tensor, gradient: Tensor) -> None:
        """Add a term's value ``(n,)`` to the tokens', and weight its gradient ``(n, …)`` by logits / temperature."""
        weight = term.weight[tokens].to(value.dtype)
        self.per_token[tokens] += weight * value
        gradient *= (weight * self.coefficients[tokens] / self.student.temperature).unsqueeze(-1)

    def _has_table(self, term: Term) -> bool:
        """Whether the likeliest tokens that the term compares are kept."""
        how = term.divergence
        if how.support != "top_k" or isinstance(term.target, Pool):
            return False
        return (self.student if how.top_k_of == "student" else self.sources[term.target]).top_k >= how.top_k

    # ------------------------------------------------------------------------------- terms that need K rows of a head

    def _is_sparse(self, term: Term) -> bool:
        return self._has_table(term) and term.divergence.tail == "renormalize"

    def _sparse(self, tokens: Tensor, term: Term) -> None:
        how, student, source = term.divergence, self.student, self.sources[str(term.target)]
        # K rows of the head a token, twice for their gradient, and as much for copies that torch makes on the way.
        size = max(1, self.space.numbers // (8 * how.top_k * student.states.shape[1]))
        for chunk in torch.split(tokens, size):
            if how.top_k_of == "student":
                ids = student.table(how.top_k, chunk).ids.long()
                target = source.log_probs_at(chunk, ids)
            else:
                table = source.table(how.top_k, chunk)
                ids, target = table.ids.long(), table.logps
            states = student.states[chunk]
            logits = student.head.logits_at(states, ids)
            value, gradient = outcomes(logits / student.temperature, target, how.kind, how.beta)
            self._record(chunk, term, value, gradient)
            student.head.to_product_(gradient, logits)
            self.gradient.add_at(chunk, states, gradient, ids)

    # ------------------------------------------------------------------- terms that need the student's distribution

    def _dense(self, tokens: Tensor, terms: Sequence[Term]) -> None:
        student = self.student
        # A gradient may take the place of the student's distribution if nobody needs that any more.
        in_place = len(terms) == 1 and student.head.softcap is None
        second = not in_place or any(self._needs_target_rows(term) for term in terms)
        buffers = 1 + second + any(isinstance(term.target, Pool) for term in terms) + (len(terms) > 1)
        for chunk, (rows, *more) in self.space.chunks(tokens, buffers):
            student.log_probs(chunk, rows)
            total = more.pop().zero_() if len(terms) > 1 else None
            for term in terms:
                value, gradient = self._term(chunk, term, rows, more, in_place)
                self._record(chunk, term, value, gradient)
                if total is not None:
                    gradient = total.add_(gradient)
            if student.head.softcap is not None:  # which needs the logits again
                rows.add_(student.normalizer(chunk).unsqueeze(-1)).mul_(student.temperature)
            student.head.to_product_(gradient, rows)
            self.gradient.add(chunk, student.states[chunk], gradient)

    def _needs_target_rows(self, term: Term) -> bool:
        if isinstance(term.target, Pool):
            return True
        how = term.divergence
        kept = how.support == "sampled" or (how.top_k_of == "target" and self._has_table(term))
        return term.target != "data" and not kept

    def _term(
        self, tokens: Tensor, term: Term, student: Tensor, more: Sequence[Tensor], in_place: bool
    ) -> tuple[Tensor, Tensor]:
        """Value of a term, ``(n,)``, and its gradient by the student's logits, in one of the buffers."""
        how, ids = term.divergence, self.student.ids[tokens]
        out = student if in_place else more[0]
        if term.target == "data":
            logp = at_ids(student, ids)
            one_token_(student, ids, torch.full_like(logp, -1), out)
            return -logp, out
        target = self._target_rows(tokens, term, more) if self._needs_target_rows(term) else None
        if how.support == "sampled":
            of_target = self.sources[str(term.target)].loss_logp[tokens] if target is None else at_ids(target, ids)
            value, by_logp = single_sample(at_ids(student, ids), of_target, how.kind, how.beta)
            one_token_(student, ids, by_logp, out)
            return value, out
        if target is None:
            table = self.sources[str(term.target)].table(how.top_k, tokens)
            return top_k_(student, table.ids.long(), table.logps, table.tail_logp, how, out), out
        if how.support == "full":
            return full_(student, target, how.kind, how.beta), target
        top = (target if how.top_k_of == "target" else student).topk(how.top_k).indices
        inside, tail = target.gather(-1, top), tail_log_probability_(target, top).squeeze(-1)
        return top_k_(student, top, inside, tail, how, target), target

    def _target_rows(self, tokens: Tensor, term: Term, more: Sequence[Tensor]) -> Tensor:
        """Log-probabilities of the target, ``(n, vocab)``, in the first of the buffers ``more``."""
        if not isinstance(term.target, Pool):
            return self.sources[term.target].log_probs(tokens, more[0])
        weight = torch.as_tensor(term.target.teacher_weight, dtype=more[0].dtype, device=more[0].device)
        weight = weight[tokens].unsqueeze(-1) if weight.ndim else weight
        teacher = self.sources["teacher"].log_probs(tokens, more[0])
        reference = self.sources["reference"].log_probs(tokens, more[1])
        for t, r in blocks(teacher, reference):
            t.copy_(mix(t, r, weight, term.target.geometric))
        normalize_(teacher)
        return teacher
