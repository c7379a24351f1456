"""The method on plain tensors, for a trainer of your own.

Logits are ``(batch, response, vocab)``, at the positions that predict each response token, so that ``logits[b, n]``
is the distribution that ``response_ids[b, n]`` was drawn from.
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
        loss: scalar, to call ``backward`` on.
        per_token: ``(batch, response)``, the weighted divergence of each token, 0 where masked.
        regimes: ``(batch, response)``, int64: values of `Regime`, -1 where masked.
        gap: ``(batch, response)``, the advantage gap, 0 where masked.
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
    """The loss of dual on-policy distillation (DOPD, arXiv 2606.30626, Sec. 3.2).

    Tokens are routed by the teacher's and the reference's logits; the divergences are the student's. Only the student
    gets a gradient.

    Args:
        student_logits: ``(batch, response, vocab)``, of the student under the bare prompt.
        teacher_logits: ``(batch, response, vocab)``, of the teacher under the privileged prompt.
        reference_logits: ``(batch, response, vocab)``, of the reference (in the paper the student itself) under the
            privileged prompt.
        response_ids: ``(batch, response)``, sampled from the student; anything where masked.
        mask: ``(batch, response)``, true at response tokens, the end-of-sequence token included.
        top_k: tokens in the support of three regimes.
        beta_light: weight of the regimes LH and HS.
        beta_weak: weight of the regime LL.
        beta_js: the target's share in the Jensen-Shannon mixture.
        outlier_fraction: share of tokens left out of the routing's means.
        normalize: ``none``, ``minmax`` or ``zscore``, how the routing scales the two probabilities.
        top_k_of: ``target`` or ``student``, whose likeliest tokens make the support.
        tail: ``bucket`` or ``renormalize``, what becomes of the mass outside it.
        reduction: ``rollout`` or ``token``, see `reduce_loss`.

    Raises:
        ConfigError: for a setting out of range, or ``top_k`` above the vocabulary.
        ValueError: if shapes do not match.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]]).log()
        >>> reference = torch.tensor([[[0.5, 0.5], [0.2, 0.8]]]).log()
        >>> ids, mask = torch.tensor([[0, 0]]), torch.ones(1, 2)
        >>> result = dopd_loss(reference.clone().requires_grad_(), teacher, reference, ids, mask, top_k=2)
        >>> [Regime(each).name for each in result.regimes[0].tolist()]
        ['LL', 'HT']
        >>> result.gap  # log(0.9 / 0.2) at the second token
        tensor([[0.0000, 1.5041]])
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
