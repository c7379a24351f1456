"""The token record: what a training step knows about each response token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor


class Likeliest(NamedTuple):
    """A policy's likeliest tokens, likeliest first: both ``(rollouts, response, K)``, probabilities in float32."""

    ids: Tensor
    probabilities: Tensor


@dataclass(frozen=True)
class TokenDetails:
    """Details of some rollouts that take extra work, computed on request (``DOPDModule.detail_next``).

    Attributes:
        rollouts: rows of the record that it is known of.
        divergence: ``KL(student ‖ source)`` over the whole vocabulary, at the loss temperature, by source: ``(rollouts,
            response)``, nats, 0 where masked.
        likeliest: at the loss temperature, by policy.
    """

    rollouts: Sequence[int]
    divergence: Mapping[str, Tensor]
    likeliest: Mapping[str, Likeliest]


def _of(policy: str, quantity: str) -> property:
    """A policy's entry of one of the record's mappings, as an attribute."""
    return property(lambda record: getattr(record, quantity).get(policy))


@dataclass(frozen=True)
class TokenRecord:
    """Made once a step by the module, detached; metrics and callbacks only read it.

    Callbacks find it as ``outputs["record"]`` in ``on_train_batch_end``. Tensors are ``(batch, response)`` unless said,
    log in nats, and without meaning where ``mask`` is false. What a fusion rule does not need is ``None``.

    Attributes:
        response_ids: the tokens.
        mask: which of them count.
        loss: contribution of each token, weight included, before the reduction.
        logp: ``log Π(y_n | …, y<n)`` by policy: ``student``, then each source that takes part, in
            their order, each behind what it reads.
        entropy: of each policy's distribution at each token, by policy; the student's falling to 0 tells of collapse.
        gap: the privilege advantage gap ``A_n`` (Eq. 1).
        regimes: :class:`~dopd_lightning.fusion.Regime` of each token, -1 where masked.
        thresholds: what a rule that routes compared tokens with: a :class:`~dopd_lightning.fusion.Thresholds`.
        ended: ``(batch,)``, whether the response ends with an end-of-sequence token; else it was cut, or is empty.
        examples: what each response answers, ``batch`` of them: ``prompt``, and as far as given ``privileged``, ….
        rollout_seconds: what writing the responses took in this process.
        details: of the rollouts that somebody asked about.
    """

    response_ids: Tensor
    mask: Tensor
    loss: Tensor
    logp: Mapping[str, Tensor]
    entropy: Mapping[str, Tensor]
    gap: Tensor | None = None
    regimes: Tensor | None = None
    thresholds: Any = None
    ended: Tensor | None = None
    examples: Sequence[Mapping[str, Any]] = ()
    rollout_seconds: float = 0.0
    details: TokenDetails | None = None

    # Names from before sources had names of their own; None of one that takes no part.
    student_logp, student_entropy = _of("student", "logp"), _of("student", "entropy")
    teacher_logp, teacher_entropy = _of("teacher", "logp"), _of("teacher", "entropy")
    reference_logp, reference_entropy = _of("reference", "logp"), _of("reference", "entropy")
