"""Log-linear pool of sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dopd_lightning.fusion.mixture import Mixture


@dataclass(frozen=True, kw_only=True)
class Product(Mixture):
    """Pull every token toward a log-linear pool: proportional to ``teacher^λ reference^(1 - λ)``, or of other sources.

    A λ above 1 extrapolates beyond the teacher, away from the reference (ExOPD, arXiv 2602.12125).

    Attributes:
        teacher_weight: λ, at least 0.
        weights: exponents by source, any number of them, instead of λ, with a sum of 1; negative ones extrapolate.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> Product(teacher_weight=1.25).pairs[0].target.weights
        {'teacher': 1.25, 'reference': -0.25}
    """

    geometric: ClassVar[bool] = True
