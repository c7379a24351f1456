"""Advantage-aware routing: which regime each response token belongs to (DOPD, arXiv 2606.30626, Sec. 3.2).

Routing looks at the two privileged policies alone, never at the bare student. It is decided in float64 on the CPU: the
vectors are short (one number a token), and not every accelerator has float64. They are rounded to float32 before they
are averaged, so that a mean of equal values is exactly that value, and does not depend on the order of summation.
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

    Normalising a signal, ``(x - shift) / scale``, moves the signal and its mean alike. So the shifts cancel in every
    comparison, the gap's scale too, and only the scales of the two probabilities matter, where they are added.

    Attributes:
        gap: mean advantage gap.
        teacher_prob: mean probability of the sampled token under the teacher.
        reference_prob: the same under the reference.
        teacher_scale: what the teacher's probabilities are divided by.
        reference_scale: what the reference's probabilities are divided by.
    """

    gap: float
    teacher_prob: float
    reference_prob: float
    teacher_scale: float = 1.0
    reference_scale: float = 1.0


class Routing(NamedTuple):
    """Result of `routing`: regimes ``(batch, response)``, and the thresholds."""

    regimes: Tensor
    thresholds: Thresholds


def advantage_gap(teacher_logp: Tensor, reference_logp: Tensor) -> Tensor:
    """The privilege advantage gap ``A = |log Π_T(y) - log Π_R(y)|`` (Eq. 1), in nats.

    Args:
        teacher_logp: any shape; log-probabilities of the sampled tokens under the teacher.
        reference_logp: the same under the reference, both under privileged context.

    Returns:
        The same shape. A log-probability of -inf counts as -10,000, so that the gap stays finite.

    Example:
        >>> advantage_gap(torch.tensor([0.8]).log(), torch.tensor([0.2]).log())  # log 4
        tensor([1.3863])
    """
    return (teacher_logp.clamp(min=LOG_PROB_FLOOR) - reference_logp.clamp(min=LOG_PROB_FLOOR)).abs()


def check_routing(outlier_fraction: float, normalize: Normalize) -> None:
    """Refuse settings that `thresholds` cannot work with.

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
    """Means (and scales) over the batch's response tokens, outliers left out (ours: those of largest gap).

    Args:
        gap: ``(tokens,)``, advantage gaps of all response tokens.
        teacher_prob: ``(tokens,)``, probability of each sampled token under the teacher.
        reference_prob: ``(tokens,)``, the same under the reference.
        outlier_fraction: the floor(outlier_fraction * tokens) tokens of largest gap are left out; of equal gaps the
            earlier.
        normalize: scale of the two probabilities: ``none``, ``minmax`` (range) or ``zscore`` (standard deviation,
            population); a scale of 0 becomes 1.

    Returns:
        The thresholds; means of no token are 0.

    Raises:
        ConfigError: for a setting out of range.

    Example:
        >>> gap, teacher, reference = torch.tensor([0.0, 2.0]), torch.tensor([0.5, 0.9]), torch.tensor([0.5, 0.1])
        >>> thresholds(gap, teacher, reference).gap
        1.0
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
    """Regime of each response token: the first part of what `routing` returns, which has the arguments.

    Returns:
        ``(batch, response)``, int64: values of `Regime`, -1 where masked.

    Example:
        >>> teacher, reference = torch.tensor([[0.5, 0.8, 0.1]]).log(), torch.tensor([[0.5, 0.1, 0.8]]).log()
        >>> [Regime(each).name for each in route(teacher, reference, torch.ones(1, 3))[0].tolist()]
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
    """Regime of each response token, and the thresholds that decided.

    With A the advantage gap, q the probability of the sampled token under a source, and means over the batch's response
    tokens (outliers left out of the means only: every token is routed)::

        A <  mean A:  LH if q_T + q_R >= mean q_T + mean q_R, else LL
        A >= mean A:  HT if q_T >= q_R, else HS

    Under torch.distributed the means are over the tokens of all processes, and all have to call it.

    Args:
        teacher_logp: ``(batch, response)``, log-probability of the sampled token under the privileged teacher.
        reference_logp: ``(batch, response)``, the same under the privileged reference.
        mask: ``(batch, response)``, true at response tokens.
        outlier_fraction: share of tokens, those of largest gap, left out of the means.
        normalize: how the two probabilities are scaled before they are added, see `thresholds`.
        limits: another batch's thresholds, instead of this one's.
        averaged: ``(batch, response)``, true at the response tokens that the thresholds are taken from; all of them if
            not given.

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
        # The tokens of every process: routing must not depend on how many there are.
        signals = torch.stack([gap, teacher_prob, reference_prob], dim=1)
        own = signals if averaged is None else signals[averaged[mask].cpu()]
        everyones = torch.cat(gathered_objects(own))
        limits = thresholds(*everyones.unbind(dim=1), outlier_fraction=outlier_fraction, normalize=normalize)

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
