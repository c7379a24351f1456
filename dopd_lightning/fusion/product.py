"""Log-linear pool of sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dopd_lightning.fusion.mixture import Mixture


@dataclass(frozen=True, kw_only=True)
class Product(Mixture):
    """Pull every token toward a log-linear pool, ``∝ teacher^λ reference^(1 - λ)``, or one of other sources.

    A λ above 1 extrapolates beyond the teacher, away from the reference (ExOPD, arXiv 2602.12125).

    Attributes:
        teacher_weight: λ, at least 0.
        weights: exponent of each source, for any number of sources, instead of λ, with a sum of 1; a negative exponent
            extrapolates away from its source.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> import torch
        >>> target = Product(teacher_weight=2.0).pool
        >>> target.weights
        {'teacher': 2.0, 'reference': -1.0}
        >>> sources = {"teacher": torch.tensor([[0.8, 0.2]]).log(), "reference": torch.tensor([[0.4, 0.6]]).log()}
        >>> target.logits(sources).softmax(-1)  # 0.8² / 0.4 = 1.6 and 0.2² / 0.6 = 0.0667, divided by their sum
        tensor([[0.9600, 0.0400]])
    """

    geometric: ClassVar[bool] = True
