"""Weights that balance domains, if their teachers differ from the student by different amounts."""

from __future__ import annotations

import torch
from torch import Tensor

from dopd_lightning.distributed.processes import summed
from dopd_lightning.fusion.statistics import TokenStatistics

LARGEST = 4.0
"""Largest weight of a domain; the smallest is its inverse."""

_DOMAINS = 256
"""Upper limit of the number of domains. It is fixed, so that all processes sum arrays of the same size."""


def domain_scales(statistics: TokenStatistics, source: str) -> Tensor:
    """Return the weight of each token's domain: ``clip(σ / σ_d, 1/4, 4)`` (DN-MOPD, arXiv 2609.35347).

    σ is the standard deviation of ``log source(y) - log student(y)`` over the response tokens of all processes, and σ_d
    the same over the tokens of domain d. If σ_d is 0, the weight is 1. All processes have to call it.

    Args:
        statistics: statistics of a batch.
        source: name of the source; each of its members is a domain.

    Returns:
        ``(batch, response)``, 0 where masked.
    """
    mask = statistics.mask
    log_ratio = (statistics[source].logp - statistics["student"].logp)[mask].double().cpu()
    domain = statistics[source].owner[mask].cpu()
    sums = torch.zeros(3, _DOMAINS, dtype=torch.double)
    for row, values in enumerate((torch.ones_like(log_ratio), log_ratio, log_ratio.square())):
        sums[row].index_add_(0, domain, values)
    sums = summed(sums.float().to(mask.device)).double().cpu()
    of_all, of_domains = _spread(sums.sum(dim=1)), _spread(sums)
    scales = torch.where(of_domains > 0, of_all / of_domains.clamp(min=1e-12), 1.0).clamp(1 / LARGEST, LARGEST)
    return statistics.scatter(scales[domain].float().to(mask.device))


def _spread(sums: Tensor) -> Tensor:
    """Return the standard deviation from count, sum and sum of squares, ``(3, …)``; 0 without values."""
    count, total, squares = sums
    count = count.clamp(min=1)
    spread: Tensor = (squares / count - (total / count).square()).clamp(min=0).sqrt()
    return spread
