"""Divergences between two policies' logits, per token.

Every support but ``sampled`` first turns both policies into distributions over the same outcomes (all tokens, or K
tokens and a bucket); the divergence is then a divergence between those. So each value is at least 0 (up to rounding),
and merging outcomes into a bucket can only lower it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dopd_lightning.divergence.settings import Divergence, Kind, Support, Tail, TopKOf
from dopd_lightning.errors import ConfigError
from dopd_lightning.scores.distribution import EXCLUDED, at_ids, check_same_shape, floored, log_probs


def divergence(
    student_logits: Tensor,
    target_logits: Tensor,
    *,
    kind: Kind = Divergence.kind,
    beta: float = Divergence.beta,
    support: Support = Divergence.support,
    top_k: int = Divergence.top_k,
    top_k_of: TopKOf = Divergence.top_k_of,
    tail: Tail = Divergence.tail,
    sampled_ids: Tensor | None = None,
) -> Tensor:
    """Divergence of the student from the target, in nats; only the student gets a gradient.

    - ``reverse_kl``: KL(student ‖ target).
    - ``forward_kl``: KL(target ‖ student).
    - ``js``: ``beta KL(target ‖ m) + (1 - beta) KL(student ‖ m)`` with ``m = beta target + (1 - beta) student``
      (generalised Jensen-Shannon, Agarwal et al., arXiv 2306.13649).

    With support ``sampled``, one token ``y`` drawn from the student stands for the vocabulary. Value and gradient are
    random, with those of the full divergence as their means; a single value can be negative.

    Args:
        student_logits: ``(..., vocab)``.
        target_logits: ``(..., vocab)``.
        kind: the divergence.
        beta: the target's share in the Jensen-Shannon mixture.
        support: the outcomes compared, see `Divergence`.
        top_k: number of tokens in the ``top_k`` support.
        top_k_of: whose likeliest tokens they are.
        tail: what becomes of the mass outside ``top_k``.
        sampled_ids: ``(...)``, tokens drawn from the student, for support ``sampled``.

    Returns:
        ``(...)``, float32 or better.

    Raises:
        ConfigError: for a setting out of range, ``top_k`` above the vocabulary, or ``sampled`` without ``sampled_ids``.
        ValueError: if the two logits differ in shape.

    Example:
        >>> student, target = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.75, 0.25]).log()
        >>> divergence(student, target)  # 0.5 log(0.5 / 0.75) + 0.5 log(0.5 / 0.25)
        tensor(0.1438)
        >>> divergence(student, target, kind="forward_kl")
        tensor(0.1308)
    """
    Divergence(kind=kind, beta=beta, support=support, top_k=top_k, top_k_of=top_k_of, tail=tail)  # checks the settings
    check_same_shape("divergence", student_logits=student_logits, target_logits=target_logits)
    student, target = log_probs(student_logits), log_probs(target_logits.detach())
    if support == "sampled":
        if sampled_ids is None:
            raise ConfigError("sampled_ids: None; support 'sampled' needs the tokens drawn from the student")
        return sampled(at_ids(student, sampled_ids), at_ids(target, sampled_ids), kind, beta)
    if support == "top_k":
        if top_k > student.shape[-1]:
            raise ConfigError(
                f"top_k: {top_k} is above the vocabulary of {student.shape[-1]} tokens; "
                f"it must be at most {student.shape[-1]} (or use support 'full')"
            )
        ids = (target if top_k_of == "target" else student.detach()).topk(top_k).indices
        student, target = _restrict(student, ids, tail), _restrict(target, ids, tail)
    return compare(student, target, kind, beta)


def _restrict(log_probs: Tensor, ids: Tensor, tail: Tail) -> Tensor:
    """The distribution over the tokens ``ids`` ``(..., K)``, and with ``bucket`` over "any other" as outcome K + 1."""
    inside = log_probs.gather(-1, ids)
    if tail == "renormalize":
        return inside.log_softmax(-1)
    # Summed over the tail itself: 1 - sum(inside) would lose a small tail to rounding. An empty tail (K = vocab) has a
    # mass of exactly 0, and so is its gradient.
    outside = log_probs.scatter(-1, ids, EXCLUDED).logsumexp(-1, keepdim=True)
    return torch.cat([inside, floored(outside)], dim=-1)


def compare(student: Tensor, target: Tensor, kind: Kind, beta: float) -> Tensor:
    """Divergence ``(...)`` of two distributions over the same outcomes, log-probabilities ``(..., outcomes)``."""
    if kind == "reverse_kl":
        return _kl(student, target)
    if kind == "forward_kl":
        return _kl(target, student)
    assert kind == "js", kind
    mixture = torch.logaddexp(target + math.log(beta), student + math.log1p(-beta))
    return beta * _kl(target, mixture) + (1 - beta) * _kl(student, mixture)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (p.exp() * (p - q)).sum(-1)


def sampled(student: Tensor, target: Tensor, kind: Kind, beta: float) -> Tensor:
    """Single-sample estimate from the two log-probabilities ``(...)`` of the sampled token.

    A divergence is E f(w) under the student, with w = target(y) / student(y). Its gradient is
    E (f(w) - w f'(w)) ∇ log student(y): not that of f(w), because the student also decides which y is drawn.
    """
    log_w = target - student.detach()
    if kind == "reverse_kl":
        value = score = -log_w  # f - w f' is 1 - log w; the constant has mean gradient 0 and only adds noise
    elif kind == "forward_kl":
        w = log_w.exp()
        value, score = w * log_w, -w
    else:
        assert kind == "js", kind
        log_m = torch.logaddexp(log_w + math.log(beta), torch.full_like(log_w, math.log1p(-beta)))  # m(y) / student(y)
        score = -(1 - beta) * log_m
        value = beta * log_w.exp() * (log_w - log_m) + score
    return value + score * (student - student.detach())
