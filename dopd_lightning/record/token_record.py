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
    """What takes work to know, and is known of some rollouts, where somebody asked (``DOPDModule.detail_next``).

    Attributes:
        rollouts: rows of the record that it is known of.
        divergence: ``KL(student ‖ source)`` over the whole vocabulary, at the loss temperature, by source: ``(rollouts,
            response)``, nats, 0 where masked.
        likeliest: at the loss temperature, by policy.
    """

    rollouts: Sequence[int]
    divergence: Mapping[str, Tensor]
    likeliest: Mapping[str, Likeliest]


@dataclass(frozen=True)
class TokenRecord:
    """Made once a step by the module, detached; metrics and callbacks only read it.

    Callbacks find it as ``outputs["record"]`` in ``on_train_batch_end``. Tensors are ``(batch, response)`` unless said,
    log in nats, and without meaning where ``mask`` is false. What a fusion rule does not need is ``None``.

    Attributes:
        response_ids: the tokens.
        mask: which of them count.
        loss: contribution of each token, weight included, before the reduction.
        student_logp: ``log Π_S(y_n | x, y<n)``, the bare student's.
        student_entropy: entropy of the bare student's distribution at each token; falling to 0, it tells of collapse.
        teacher_logp: ``log Π_T(y_n | x, p, y<n)``.
        teacher_entropy: as the student's.
        reference_logp: ``log Π_R(y_n | x, p, y<n)``.
        reference_entropy: as the student's.
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
    student_logp: Tensor
    student_entropy: Tensor
    teacher_logp: Tensor | None = None
    teacher_entropy: Tensor | None = None
    reference_logp: Tensor | None = None
    reference_entropy: Tensor | None = None
    gap: Tensor | None = None
    regimes: Tensor | None = None
    thresholds: Any = None
    ended: Tensor | None = None
    examples: Sequence[Mapping[str, Any]] = ()
    rollout_seconds: float = 0.0
    details: TokenDetails | None = None
