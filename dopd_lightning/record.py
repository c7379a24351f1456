"""The token record: what a training step knows about each response token."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TokenRecord:
    """Made once a step by the module, detached; metrics and callbacks only read it.

    Callbacks find it as ``outputs["record"]`` in ``on_train_batch_end``. All tensors are ``(batch, response)``, log in
    nats, and without meaning where ``mask`` is false. What a fusion rule does not need is not computed: ``None``.

    Attributes:
        response_ids: the tokens.
        mask: which of them count.
        loss: contribution of each token, weight included, before the reduction.
        student_logp: ``log Π_S(y_n | x, y<n)``, the bare student's.
        student_entropy: entropy of the bare student's distribution at each token; falling to 0, it tells of collapse.
        teacher_logp: ``log Π_T(y_n | x, p, y<n)``.
        reference_logp: ``log Π_R(y_n | x, p, y<n)``.
        gap: the privilege advantage gap ``A_n`` (Eq. 1).
        regimes: :class:`~dopd_lightning.fusion.Regime` of each token, -1 where masked.
    """

    response_ids: Tensor
    mask: Tensor
    loss: Tensor
    student_logp: Tensor
    student_entropy: Tensor
    teacher_logp: Tensor | None = None
    reference_logp: Tensor | None = None
    gap: Tensor | None = None
    regimes: Tensor | None = None
