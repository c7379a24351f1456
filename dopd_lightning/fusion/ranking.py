"""Selection of the tokens with the largest values."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def largest(values: Tensor, share: float) -> Tensor:
    """Mark the floor(share * n) largest of n values; of equal values, the earlier.

    Args:
        values: ``(n,)``.
        share: from 0 to 1.

    Returns:
        ``(n,)``, bool.
    """
    count = math.floor(round(share * len(values), 9))  # 0.29 * 100 is 28.999999999999996
    marked = torch.zeros_like(values, dtype=torch.bool)
    marked[values.sort(descending=True, stable=True).indices[:count]] = True
    return marked
