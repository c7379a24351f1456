"""Divergences with their gradient by the student's logits, on rows as wide as the vocabulary, without more of these.

The gradient of a function of log-probabilities ``s`` by the logits is ``g - p Σ g``, with ``g`` its gradient by ``s``
and ``p = exp(s)``. For the three divergences, with ``t`` the target's and ``m`` the mixture's log-probabilities::

    KL(student ‖ target)    p (s - t - KL)
    KL(target ‖ student)    p - q,  q = exp(t)
    JS                      (1 - β) p (s - m - KL(p ‖ m))

The values equal those of `divergence` (`dopd_lightning.divergence.formulas`), which the tests compare with.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dopd_lightning.divergence.formulas import compare, sampled
from dopd_lightning.divergence.settings import Divergence, Kind
from dopd_lightning.scores.distribution import EXCLUDED, log_probs
from dopd_lightning.scores.rows import blocks, tail_log_probability_


def full_(student: Tensor, target: Tensor, kind: Kind, beta: float) -> Tensor:
    """A divergence over the full vocabulary.

    Args:
        student: ``(n, vocab)``, log-probabilities; not changed.
        target: ``(n, vocab)``, log-probabilities; the gradient by the student's logits takes their place.
        kind: the divergence.
        beta: of ``js``.

    Returns:
        ``(n,)``.
    """
    value = student.new_zeros(len(student), 1)
    if kind == "forward_kl":
        for s, t in blocks(student, target):
            q = t.exp()
            value += (t.sub_(s) * q).sum(-1, keepdim=True)
            torch.sub(s.exp(), q, out=t)
        return value.squeeze(-1)
    assert kind in ("reverse_kl", "js"), kind
    if kind == "js":
        of_target = torch.zeros_like(value)
        for s, t in blocks(student, target):
            m = torch.logaddexp(t + math.log(beta), s + math.log1p(-beta))
            of_target += (t.exp() * t.sub_(m)).sum(-1, keepdim=True)
            t.copy_(m)
    for s, t in blocks(student, target):  # from here on, target is what the student is compared with: itself or m
        torch.sub(s, t, out=t)
        value += (s.exp() * t).sum(-1, keepdim=True)
    for s, t in blocks(student, target):
        t.sub_(value).mul_(s.exp())
    if kind == "js":
        target *= 1 - beta
        value = beta * of_target + (1 - beta) * value
    return value.squeeze(-1)


def top_k_(student: Tensor, ids: Tensor, inside: Tensor, tail_logp: Tensor, how: Divergence, out: Tensor) -> Tensor:
    """A divergence over K tokens.

    Args:
        student: ``(n, vocab)``, log-probabilities; not changed, unless it is ``out``.
        ids: ``(n, K)``, the tokens.
        inside: ``(n, K)``, the target's log-probabilities of them.
        tail_logp: ``(n,)``, the target's log-probability of all others.
        how: the divergence, and what becomes of the others.
        out: ``(n, vocab)``, to hold the gradient by the student's logits; it may be ``student``.

    Returns:
        ``(n,)``.
    """
    own = student.gather(-1, ids)
    if how.tail == "renormalize":
        value, by_outcome = outcomes(own, inside, how.kind, how.beta)
        out.zero_().scatter_(-1, ids, by_outcome)
        return value
    own_tail = tail_log_probability_(student, ids)
    value, by_outcome = outcomes(
        torch.cat([own, own_tail], -1), torch.cat([inside, tail_logp.unsqueeze(-1)], -1), how.kind, how.beta
    )
    # In the tail, an outcome's gradient is divided among its tokens by their probability given the tail.
    for s, gradient in blocks(student, out):
        torch.sub(s, own_tail, out=gradient).exp_().mul_(by_outcome[:, -1:])
    if out is not student:
        student.scatter_(-1, ids, own)
    out.scatter_(-1, ids, by_outcome[:, :-1])
    return value


def one_token_(student: Tensor, ids: Tensor, by_logp: Tensor, out: Tensor) -> None:
    """Turn the gradient ``(n,)`` by the log-probability of one token each, ``ids`` ``(n,)``, into that by the logits.

    ``out`` ``(n, vocab)`` holds it then; it may be ``student``.
    """
    by_logp = by_logp.unsqueeze(-1)
    torch.exp(student, out=out).mul_(-by_logp).scatter_add_(-1, ids.unsqueeze(-1), by_logp)


@torch.enable_grad()
def outcomes(student: Tensor, target: Tensor, kind: Kind, beta: float) -> tuple[Tensor, Tensor]:
    """A divergence over few outcomes.

    Args:
        student: ``(n, outcomes)``, logits. Where all are -inf, the outcomes count as equally likely.
        target: ``(n, outcomes)``, logits.
        kind: the divergence.
        beta: of ``js``.

    Returns:
        The divergences ``(n,)``, and their gradient by ``student`` ``(n, outcomes)``.
    """
    student = student.detach().clamp(min=EXCLUDED).requires_grad_()
    value = compare(log_probs(student), log_probs(target), kind, beta)
    return value.detach(), torch.autograd.grad(value.sum(), student)[0]


@torch.enable_grad()
def single_sample(student: Tensor, target: Tensor, kind: Kind, beta: float) -> tuple[Tensor, Tensor]:
    """The estimate from one sampled token.

    Args:
        student: ``(n,)``, its log-probability under the student.
        target: ``(n,)``, the same under the target.
        kind: the divergence.
        beta: of ``js``.

    Returns:
        The estimates ``(n,)``, and their gradient by ``student`` ``(n,)``.
    """
    student = student.detach().requires_grad_()
    value = sampled(student, target, kind, beta)
    return value.detach(), torch.autograd.grad(value.sum(), student)[0]
