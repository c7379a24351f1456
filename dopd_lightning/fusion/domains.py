"""Weights that even out how far apart teachers of different domains are from the student."""

from __future__ import annotations

import torch
from torch import Tensor

from dopd_lightning.distributed.processes import summed
from dopd_lightning.fusion.statistics import TokenStatistics

LARGEST = 4.0
"""A domain's weight is at most this, and at least one divided by it."""

_DOMAINS = 256
"""More than a source has; so many sums cost nothing, and processes need not agree on how many there are."""


def domain_scales(statistics: TokenStatistics, source: str) -> Tensor:
    """The weight of each token's domain, ``(batch, response)``: ``clip(σ / σ_d, 1/4, 4)`` (DN-MOPD, arXiv 2609.35347).

    σ is the standard deviation of ``log source(y) - log student(y)`` over all response tokens of all processes, and σ_d
    the same within the domain. A domain whose tokens are all alike has a weight of 1. Under torch.distributed all
    processes have to call it.

    Args:
        statistics: of a batch.
        source: name of the source, whose parts are the domains.
    """
    mask = statistics.mask
    ahead = (statistics[source].logp - statistics["student"].logp)[mask].double().cpu()
    domain = statistics[source].owner[mask].cpu()
    sums = torch.zeros(3, _DOMAINS, dtype=torch.double)
    for row, values in enumerate((torch.ones_like(ahead), ahead, ahead.square())):
        sums[row].index_add_(0, domain, values)
    sums = summed(sums.float().to(mask.device)).double().cpu()
    of_all, of_domains = _spread(sums.sum(dim=1)), _spread(sums)
    scales = torch.where(of_domains > 0, of_all / of_domains.clamp(min=1e-12), 1.0).clamp(1 / LARGEST, LARGEST)
    return statistics.scatter(scales[domain].float().to(mask.device))


def _spread(sums: Tensor) -> Tensor:
    """Standard deviation from count, sum and sum of squares, ``(3, …)``; 0 of no value."""
    count, total, squares = sums
    count = count.clamp(min=1)
    spread: Tensor = (squares / count - (total / count).square()).clamp(min=0).sqrt()
    return spread
