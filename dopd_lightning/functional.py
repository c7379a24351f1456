"""The method on plain tensors, for a trainer of your own.

Logits are ``(batch, response, vocab)`` and aligned with the response: ``logits[b, n]`` predict ``response_ids[b, n]``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dopd_lightning.divergence.formulas import divergence
from dopd_lightning.divergence.reduction import Reduction, reduce_loss
from dopd_lightning.divergence.settings import Tail, TopKOf
from dopd_lightning.divergence.token_losses import token_losses
from dopd_lightning.fusion.dopd import DOPD
from dopd_lightning.fusion.routing import Normalize, Regime, advantage_gap, route
from dopd_lightning.fusion.statistics import TokenStatistics

__all__ = ["DOPDLoss", "Regime", "advantage_gap", "divergence", "dopd_loss", "route"]


@dataclass(frozen=True, eq=False)
class DOPDLoss:
    """Result of `dopd_loss`.

    Attributes:
        loss: scalar, in nats; call ``backward`` on it.
        per_token: ``(batch, response)``, weighted divergence of each token, in nats, 0 where masked.
        regimes: ``(batch, response)``, int64: values of `Regime`, -1 where masked.
        gap: ``(batch, response)``, advantage gap, in nats, 0 where masked.

    Example:
        >>> import torch
        >>> logits, mask = torch.zeros(1, 3, 2), torch.tensor([[True, True, False]])
        >>> result = dopd_loss(logits, logits, logits, torch.tensor([[0, 1, 0]]), mask, top_k=2)
        >>> result.loss, result.regimes  # three equal policies: every gap is the mean gap, 0
        (tensor(0.), tensor([[ 2,  2, -1]]))
    """

    loss: Tensor
    per_token: Tensor
    regimes: Tensor
    gap: Tensor


def dopd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    reference_logits: Tensor,
    response_ids: Tensor,
    mask: Tensor,
    *,
    top_k: int = DOPD.top_k,
    beta_light: float = DOPD.beta_light,
    beta_weak: float = DOPD.beta_weak,
    beta_js: float = DOPD.beta_js,
    outlier_fraction: float = DOPD.outlier_fraction,
    normalize: Normalize = DOPD.normalize,
    top_k_of: TopKOf = DOPD.top_k_of,
    tail: Tail = DOPD.tail,
    reduction: Reduction = "rollout",
) -> DOPDLoss:
    """Compute the loss of dual on-policy distillation (DOPD, arXiv 2606.30626, Sec. 3.2).

    The teacher's and the reference's logits decide the regime of each token (`route`). The regime decides the
    divergence of the student from one of the two, and its weight (`DOPD`). Only ``student_logits`` get a gradient.

    Args:
        student_logits: ``(batch, response, vocab)``, of the student after the bare prompt.
        teacher_logits: ``(batch, response, vocab)``, of the teacher after the privileged prompt.
        reference_logits: ``(batch, response, vocab)``, of the reference (in the paper the student itself) after the
            privileged prompt.
        response_ids: ``(batch, response)``, sampled from the student; any value where masked.
        mask: ``(batch, response)``, true at response tokens, the end-of-sequence token included.
        top_k: number of tokens in the support of LH, LL and HS.
        beta_light: weight of the regimes LH and HS.
        beta_weak: weight of the regime LL.
        beta_js: the target's share in the Jensen-Shannon mixture.
        outlier_fraction: share of tokens left out of the routing's means.
        normalize: scaling of the two probabilities in the routing: ``none``, ``minmax`` or ``zscore``.
        top_k_of: policy whose likeliest tokens are the support: ``target`` or ``student``.
        tail: treatment of the mass outside the support: ``bucket`` or ``renormalize``.
        reduction: mean over tokens: ``rollout`` or ``token``, see `reduce_loss`.

    Raises:
        ConfigError: for a setting out of range, or ``top_k`` above the vocabulary.
        ValueError: if shapes do not match.

    Example:
        >>> import torch
        >>> student = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]]).log()
        >>> teacher = torch.tensor([[[0.8, 0.2], [0.1, 0.9]]]).log()
        >>> reference = torch.tensor([[[0.8, 0.2], [0.8, 0.2]]]).log()
        >>> result = dopd_loss(student, teacher, reference, torch.tensor([[0, 0]]), torch.ones(1, 2), top_k=2)
        >>> result.gap, [Regime(each).name for each in result.regimes[0].tolist()]  # log 1, log 8
        (tensor([[0.0000, 2.0794]]), ['LH', 'HS'])
        >>> result.per_token  # each 0.6 KL(student ‖ target) = 0.6 * 0.2231
        tensor([[0.1339, 0.1339]])
        >>> result.loss
        tensor(0.1339)
    """
    rule = DOPD(
        top_k=top_k,
        beta_light=beta_light,
        beta_weak=beta_weak,
        beta_js=beta_js,
        outlier_fraction=outlier_fraction,
        normalize=normalize,
        top_k_of=top_k_of,
        tail=tail,
    )
    sources = {"teacher": teacher_logits, "reference": reference_logits}
    statistics = TokenStatistics.from_logits(student_logits, sources, response_ids, mask)
    supervision = rule(statistics)
    assert supervision.regimes is not None
    per_token = token_losses(student_logits, sources, response_ids, supervision.terms)
    return DOPDLoss(reduce_loss(per_token, mask, reduction), per_token, supervision.regimes, statistics.gap)
