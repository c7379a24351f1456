"""Log-linear pool of sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dopd_lightning.fusion.mixture import Mixture


@dataclass(frozen=True, kw_only=True)
class Product(Mixture):
    """Every token is drawn to the distribution proportional to ``teacher^λ reference^(1 - λ)``, or that of others.

    Attributes:
        teacher_weight: λ, at least 0; above 1 the target lies beyond the teacher, seen from the reference (ExOPD, arXiv
            2602.12125).
        weights: exponents by source, any number of them, instead of λ, with a sum of 1; negative ones extrapolate.

    Raises:
        ConfigError: for a field out of range.
    """

    geometric: ClassVar[bool] = True
