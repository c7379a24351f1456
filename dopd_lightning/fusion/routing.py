"""Advantage-aware routing: assigns a regime to each response token (DOPD, arXiv 2606.30626, Sec. 3.2).

Routing uses the log-probabilities of the two privileged policies only, never those of the bare student. It is computed
in float64 on the CPU: there is one number per token, and not every accelerator has float64. The numbers are rounded to
float32 before they are averaged, so that the mean of equal values is exactly that value and does not depend on the
order of summation.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from dopd_lightning.distributed.processes import gathered_objects
from dopd_lightning.errors import check_choice, check_range
from dopd_lightning.fusion.ranking import largest
from dopd_lightning.scores.distribution import LOG_PROB_FLOOR, check_same_shape

Normalize: TypeAlias = Literal["none", "minmax", "zscore"]

OUTLIER_FRACTION = 0.05
NORMALIZE: Normalize = "none"
MASKED = -1


class Regime(IntEnum):
    """Regime of a token, by its advantage gap and its probabilities under the sources (`route` has the conditions).

    - LH: small gap, likely under both sources.
    - LL: small gap, unlikely under both.
    - HT: large gap, likelier under the teacher.
    - HS: large gap, likelier under the reference (in the paper the privileged student).
    """

    LH = 0
    LL = 1
    HT = 2
    HS = 3


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of the routing: means over the batch, and the scales of the two probabilities.

    Normalisation, ``(x - shift) / scale``, changes a signal and its mean alike. Therefore the shifts cancel in every
    comparison, and so does the gap's scale. Only the scales of the two probabilities matter, since these are added.

    Attributes:
        gap: mean advantage gap, in nats.
        teacher_prob: mean probability of the response token under the teacher.
        reference_prob: the same under the reference.
        teacher_scale: divisor of the teacher's probabilities.
        reference_scale: divisor of the reference's probabilities.

    Example:
        >>> limits = Thresholds(gap=0.5, teacher_prob=0.6, reference_prob=0.4)  # of another batch
        >>> teacher, reference = torch.tensor([[0.5, 0.9]]).log(), torch.tensor([[0.4, 0.2]]).log()  # gaps 0.22, 1.50
        >>> regimes = routing(teacher, reference, torch.ones(1, 2), limits=limits).regimes[0]
        >>> [Regime(each).name for each in regimes.tolist()]  # LL: 0.5 + 0.4 is below 0.6 + 0.4
        ['LL', 'HT']
    """

    gap: float
    teacher_prob: float
    reference_prob: float
    teacher_scale: float = 1.0
    reference_scale: float = 1.0


class Routing(NamedTuple):
    """Result of `routing`: regimes ``(batch, response)``, and the thresholds that decided them."""

    regimes: Tensor
    thresholds: Thresholds


def advantage_gap(teacher_logp: Tensor, reference_logp: Tensor) -> Tensor:
    """Compute the privilege advantage gap ``A = |log Π_T(y) - log Π_R(y)|``, in nats (DOPD, arXiv 2606.30626, Eq. 1).

    Args:
        teacher_logp: log-probabilities of the response tokens under the teacher with privileged text; any shape.
        reference_logp: the same under the reference with privileged text; the same shape.

    Returns:
        The same shape. A log-probability of -inf counts as -10,000, so that the gap stays finite.

    Example:
        >>> advantage_gap(torch.tensor([0.8]).log(), torch.tensor([0.2]).log())  # log 4
        tensor([1.3863])
    """
    return (teacher_logp.clamp(min=LOG_PROB_FLOOR) - reference_logp.clamp(min=LOG_PROB_FLOOR)).abs()


def check_routing(outlier_fraction: float, normalize: Normalize) -> None:
    """Refuse settings that `thresholds` cannot use.

    Raises:
        ConfigError: for an outlier fraction outside [0, 1) or an unknown normalisation.
    """
    check_choice("normalize", normalize, get_args(Normalize))
    check_range("outlier_fraction", outlier_fraction, at_least=0, below=1)  # at 1 no token is left to average


def thresholds(
    gap: Tensor,
    teacher_prob: Tensor,
    reference_prob: Tensor,
    *,
    outlier_fraction: float = OUTLIER_FRACTION,
    normalize: Normalize = NORMALIZE,
) -> Thresholds:
    """Compute the routing's thresholds (DOPD, arXiv 2606.30626, Sec. 3.2): means over the batch's response tokens.

    The tokens of largest gap are left out of the means as outliers (ours).

    Args:
        gap: ``(tokens,)``, advantage gaps of all response tokens, in nats.
        teacher_prob: ``(tokens,)``, probability of each response token under the teacher.
        reference_prob: ``(tokens,)``, the same under the reference.
        outlier_fraction: share of tokens to leave out, at least 0 and below 1: floor(outlier_fraction * tokens); of
            equal gaps, the earlier.
        normalize: scale of the two probabilities: ``none`` (1), ``minmax`` (range) or ``zscore`` (population standard
            deviation); a scale of 0 becomes 1.

    Returns:
        The thresholds; without tokens the means are 0.

    Raises:
        ConfigError: for a setting out of range.

    Example:
        >>> teacher, reference = torch.tensor([0.5, 1.0, 0.75]), torch.tensor([0.5, 0.25, 0.375])
        >>> gap = advantage_gap(teacher.log(), reference.log())  # 0, log 4, log 2: the second token is left out
        >>> limits = thresholds(gap, teacher, reference, outlier_fraction=0.4, normalize="minmax")
        >>> round(limits.gap, 4), limits.teacher_prob, limits.reference_prob  # log(2) / 2 and two means
        (0.3466, 0.625, 0.4375)
        >>> limits.teacher_scale, limits.reference_scale  # 0.75 - 0.5 and 0.5 - 0.375
        (0.25, 0.125)
    """
    check_routing(outlier_fraction, normalize)
    kept = ~largest(gap, outlier_fraction)

    def mean(values: Tensor) -> float:
        return (values[kept].double().sum() / kept.sum().clamp(min=1)).item()

    def scale(values: Tensor) -> float:
        values = values[kept].double()
        if normalize == "none" or len(values) == 0:
            return 1.0
        spread = values.max() - values.min() if normalize == "minmax" else values.std(correction=0)
        return spread.item() or 1.0

    return Thresholds(mean(gap), mean(teacher_prob), mean(reference_prob), scale(teacher_prob), scale(reference_prob))


def route(
    teacher_logp: Tensor,
    reference_logp: Tensor,
    mask: Tensor,
    *,
    outlier_fraction: float = OUTLIER_FRACTION,
    normalize: Normalize = NORMALIZE,
) -> Tensor:
    """Return the regime of each response token (DOPD, arXiv 2606.30626, Sec. 3.2).

    With A the advantage gap, q_T and q_R the token's probabilities under teacher and reference, and means over the
    batch's response tokens::

        A <  mean A:  LH if q_T + q_R >= mean q_T + mean q_R, else LL
        A >= mean A:  HT if q_T >= q_R, else HS

    Outliers are left out of the means, but they are routed. The means are over the tokens of all processes, so all
    processes have to call it.

    Args:
        teacher_logp: ``(batch, response)``, log-probability of the response token under the privileged teacher.
        reference_logp: ``(batch, response)``, the same under the privileged reference.
        mask: ``(batch, response)``, true at response tokens.
        outlier_fraction: share of tokens, those of largest gap, left out of the means.
        normalize: scaling of the two probabilities before they are added, see `thresholds`.

    Returns:
        ``(batch, response)``, int64: values of `Regime`, -1 where masked.

    Raises:
        ConfigError: for a setting out of range.
        ValueError: if the shapes differ.

    Example:
        >>> teacher, reference = torch.tensor([[0.5, 0.8, 0.1]]).log(), torch.tensor([[0.5, 0.1, 0.8]]).log()
        >>> regimes = route(teacher, reference, torch.ones(1, 3))[0]  # gaps 0, log 8, log 8: mean 1.39
        >>> [Regime(each).name for each in regimes.tolist()]  # LH: 0.5 + 0.5 is above the mean sum 2.8 / 3
        ['LH', 'HT', 'HS']
    """
    return routing(teacher_logp, reference_logp, mask, outlier_fraction=outlier_fraction, normalize=normalize).regimes


def routing(
    teacher_logp: Tensor,
    reference_logp: Tensor,
    mask: Tensor,
    *,
    outlier_fraction: float = OUTLIER_FRACTION,
    normalize: Normalize = NORMALIZE,
    limits: Thresholds | None = None,
    averaged: Tensor | None = None,
) -> Routing:
    """Return the regime of each response token as `route` does, and the thresholds.

    Args:
        teacher_logp, reference_logp, mask, outlier_fraction, normalize: as in `route`.
        limits: thresholds of another batch, instead of this batch's.
        averaged: ``(batch, response)``, true at the response tokens that the thresholds are computed from; all of them
            if not given.

    Returns:
        Regimes ``(batch, response)``, int64: values of `Regime`, -1 where masked; and the thresholds.

    Raises:
        ConfigError: for a setting out of range.
        ValueError: if the shapes differ.
    """
    check_same_shape("route", teacher_logp=teacher_logp, reference_logp=reference_logp, mask=mask)
    mask = mask.bool()
    teacher = teacher_logp.detach()[mask].float().cpu()
    reference = reference_logp.detach()[mask].float().cpu()
    gap, teacher_prob, reference_prob = advantage_gap(teacher, reference), teacher.exp(), reference.exp()
    if limits is None:
        # Tokens of all processes: routing must not depend on the number of processes.
        signals = torch.stack([gap, teacher_prob, reference_prob], dim=1)
        own = signals if averaged is None else signals[averaged[mask].cpu()]
        of_all = torch.cat(gathered_objects(own))
        limits = thresholds(*of_all.unbind(dim=1), outlier_fraction=outlier_fraction, normalize=normalize)

    light = gap.double() < limits.gap
    likely = (
        teacher_prob.double() / limits.teacher_scale + reference_prob.double() / limits.reference_scale
        >= limits.teacher_prob / limits.teacher_scale + limits.reference_prob / limits.reference_scale
    )
    teacher_ahead = teacher >= reference
    regimes = torch.where(
        light,
        torch.where(likely, int(Regime.LH), int(Regime.LL)),
        torch.where(teacher_ahead, int(Regime.HT), int(Regime.HS)),
    )
    full = torch.full(mask.shape, MASKED, dtype=torch.int64, device=mask.device)
    full[mask] = regimes.to(mask.device)
    return Routing(full, limits)
