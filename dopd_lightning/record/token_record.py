"""Token record: values of each response token in a training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor


class Likeliest(NamedTuple):
    """Likeliest tokens of a policy, in descending order: both ``(rollouts, response, K)``, probabilities in float32."""

    ids: Tensor
    probabilities: Tensor


@dataclass(frozen=True)
class TokenDetails:
    """Details of some rollouts that take extra work, computed on request (``DOPDModule.detail_next``).

    Attributes:
        rollouts: rows of the record with details.
        divergence: ``KL(student ‖ source)`` over the whole vocabulary, at the loss temperature, by source: ``(rollouts,
            response)``, nats, 0 where masked.
        likeliest: at the loss temperature, by policy.
    """

    rollouts: Sequence[int]
    divergence: Mapping[str, Tensor]
    likeliest: Mapping[str, Likeliest]


def _of(policy: str, quantity: str) -> property:
    """Make an attribute of a policy's entry in one of the record's mappings."""
    return property(lambda record: getattr(record, quantity).get(policy))


@dataclass(frozen=True)
class TokenRecord:
    """Record of a step's tokens, detached; metrics and callbacks read it.

    Callbacks find it as ``outputs["record"]`` in ``on_train_batch_end``. Tensors are ``(batch, response)`` unless
    stated, logarithms in nats, and values undefined where ``mask`` is false. Fields that the fusion rule does not need
    are None.

    Attributes:
        response_ids: token ids.
        mask: true at tokens that count: the student's own.
        loss: weighted loss of each token, before the reduction.
        logp: ``log Π(y_n | …, y<n)`` by policy, each after its own prompt: ``student``, then each source that takes
            part.
        entropy: entropy of each policy's distribution, by policy; a student's entropy that falls to 0 tells of
            collapse.
        gap: the privilege advantage gap ``A_n`` (Eq. 1).
        regimes: :class:`~dopd_lightning.fusion.Regime` of each token, -1 where masked.
        thresholds: :class:`~dopd_lightning.fusion.Thresholds` of a rule that routes.
        lengths: ``(batch,)``, number of tokens of each response, those that are not the student's own included.
        ended: ``(batch,)``, true if the response ends with an end-of-sequence token; else it was cut, or is empty.
        examples: example of each response, ``batch`` of them.
        rewards: by source: ``(batch,)`` or ``(batch, response)``, NaN where unknown.
        advantage: signed, of rules with a policy gradient.
        rollout_seconds: time of writing the responses in this process.
        details: of the rollouts for which they were requested.
    """

    response_ids: Tensor
    mask: Tensor
    loss: Tensor
    logp: Mapping[str, Tensor]
    entropy: Mapping[str, Tensor]
    gap: Tensor | None = None
    regimes: Tensor | None = None
    thresholds: Any = None
    lengths: Tensor | None = None
    ended: Tensor | None = None
    examples: Sequence[Mapping[str, Any]] = ()
    rewards: Mapping[str, Tensor] = field(default_factory=dict)
    advantage: Tensor | None = None
    rollout_seconds: float = 0.0
    details: TokenDetails | None = None

    # Names from before sources had names of their own; None of one that takes no part.
    student_logp, student_entropy = _of("student", "logp"), _of("student", "entropy")
    teacher_logp, teacher_entropy = _of("teacher", "logp"), _of("teacher", "entropy")
    reference_logp, reference_entropy = _of("reference", "logp"), _of("reference", "entropy")
