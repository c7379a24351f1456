"""A mean over seeds, and how well it is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_DIGITS = 4


@dataclass(frozen=True)
class Estimate:
    """Mean and spread of repeated measurements, such as a metric of runs that differ in the seed alone.

    Attributes:
        mean: of the values.
        error: standard error of the mean, s / √n with s² = Σ (x − mean)² / (n − 1); None for one value.
        n: how many values.

    Example:
        >>> str(Estimate.of([1.0, 2.0, 3.0]))  # mean and standard error
        '2.00 ± 0.58'
    """

    mean: float
    error: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate | None:
        """None without values. A value that is not finite leaves nothing known: it is not left out."""
        n = len(values)
        if n == 0:
            return None
        if not all(map(math.isfinite, values)):
            return cls(sum(values) / n, None if n == 1 else math.nan, n)
        mean = math.fsum(values) / n
        if n == 1:
            return cls(mean, None, n)
        return cls(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n), n)

    def __str__(self) -> str:
        """``mean ± error``, to two digits of the error; four of the mean where there is none."""
        if self.error is None or self.error == 0 or not math.isfinite(self.error):
            mean = f"{self.mean:.{_DIGITS}g}" if abs(self.mean) < 10**_DIGITS else f"{self.mean:.0f}"
            return mean.replace("-", "−") + ("" if self.error is None else f" ± {self.error:g}")
        decimals = max(0, 1 - math.floor(math.log10(self.error)))
        return f"{self.mean:.{decimals}f} ± {self.error:.{decimals}f}".replace("-", "−")
