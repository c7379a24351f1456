"""Token record: values of each response token in a training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor


class Likeliest(NamedTuple):
    """Likeliest tokens of a policy at each response token, in descending order of probability.

    Attributes:
        ids: ``(rollouts, response, K)``, token ids.
        probabilities: ``(rollouts, response, K)``, float32.

    Example:
        >>> import torch
        >>> likeliest = Likeliest(torch.tensor([[[17, 4]]]), torch.tensor([[[0.75, 0.125]]]))  # one response token
        >>> dict(zip(likeliest.ids[0, 0].tolist(), likeliest.probabilities[0, 0].tolist()))
        {17: 0.75, 4: 0.125}
    """

    ids: Tensor
    probabilities: Tensor


@dataclass(frozen=True)
class TokenDetails:
    """Details of some rollouts that need extra computation, on request (``DOPDModule.detail_next``).

    Attributes:
        rollouts: rows of the record that the details are of.
        divergence: ``KL(student ‖ source)`` over the full vocabulary at the loss temperature, by source: ``(rollouts,
            response)``, in nats, 0 where masked.
        likeliest: likeliest tokens at the loss temperature, by policy.

    Example:
        >>> import torch
        >>> from dopd_lightning.record.details import token_details
        >>> from dopd_lightning.scores import LogitScores
        >>> ids, mask = torch.tensor([[0]]), torch.tensor([[True]])
        >>> student, teacher = (LogitScores(torch.tensor([[p]]).log(), ids, mask) for p in ([0.5, 0.5], [0.8, 0.2]))
        >>> details = token_details(student, {"teacher": teacher}, mask, rollouts=[0], alternatives=1)
        >>> details.divergence["teacher"], details.likeliest["teacher"].probabilities  # KL = 0.5 log(0.25 / 0.16)
        (tensor([[0.2231]]), tensor([[[0.8000]]]))
    """

    rollouts: Sequence[int]
    divergence: Mapping[str, Tensor]
    likeliest: Mapping[str, Likeliest]


def _of(policy: str, quantity: str) -> property:
    """Make a property that reads a policy's entry of one of the record's mappings; None without an entry."""
    return property(lambda record: getattr(record, quantity).get(policy))


@dataclass(frozen=True)
class TokenRecord:
    """Record of the response tokens of a training step, detached, for metrics and callbacks.

    Callbacks get it as ``outputs["record"]`` in ``on_train_batch_end``. Tensors are ``(batch, response)`` unless
    stated, with logarithms in nats; values are undefined where ``mask`` is false. Fields that the fusion rule does not
    need are None.

    Attributes:
        response_ids: token ids.
        mask: true at the response tokens that have a loss: those that the student wrote, or could have written.
        loss: weighted loss of each token, before the reduction.
        logp: ``log Π(y_n | …, y<n)`` by policy, each after its own prompt: ``student``, then each source in use.
        entropy: entropy of the policy's distribution, by policy. A student entropy near 0 is a sign of collapse.
        gap: privilege advantage gap ``A_n`` (DOPD, arXiv 2606.30626, Eq. 1).
        regimes: :class:`~dopd_lightning.fusion.Regime` of each token, -1 where masked.
        thresholds: :class:`~dopd_lightning.fusion.Thresholds` of a rule that routes.
        lengths: ``(batch,)``, number of tokens of each response, including tokens that the student did not write.
        ended: ``(batch,)``, true if the response ends with an end-of-sequence token, false if it is cut or empty.
        examples: example of each response, ``batch`` of them.
        rewards: rewards by source: ``(batch,)`` or ``(batch, response)``, NaN where unknown.
        advantage: signed advantage, of rules with a policy gradient.
        rollout_seconds: seconds that this process took to write the responses.
        details: details of the rollouts for which they were requested.

    Example:
        >>> import torch
        >>> ids, mask, loss = torch.tensor([[5, 8, 0]]), torch.tensor([[True, True, False]]), torch.zeros(1, 3)
        >>> logp = {"student": torch.tensor([[-0.5, -1.5, 0.0]]), "teacher": torch.tensor([[-0.25, -0.25, 0.0]])}
        >>> record = TokenRecord(response_ids=ids, mask=mask, loss=loss, logp=logp, entropy={})
        >>> (record.logp["student"] - record.logp["teacher"])[record.mask].mean()  # (-0.25 - 1.25) / 2 nats
        tensor(-0.7500)
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

    # Names of earlier versions, in which the sources were fixed; None if the policy has no entry.
    student_logp, student_entropy = _of("student", "logp"), _of("student", "entropy")
    teacher_logp, teacher_entropy = _of("teacher", "logp"), _of("teacher", "entropy")
    reference_logp, reference_entropy = _of("reference", "logp"), _of("reference", "entropy")
