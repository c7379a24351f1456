"""Numbers as 16-bit codes that can be cut short: each bit more halves the error.

A code is proportional to ``log(1 + |x| / 0.0001)``. All 16 bits keep a number within 0.015 %, the first 8 within 4 %,
the first 6 within 16 %, of the number and 0.0003.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

SMALL, LARGEST = 1e-4, 2.0**14
"""Value at which the scale turns from linear to logarithmic, and its upper end, to which larger values are clipped."""

LAST, NOT_FINITE = 0xFBFF, 0xFC00
"""The largest number's code, and that of infinities and what is no number: apart also in the first 6 bits."""

PER_UNIT = LAST / np.log1p(LARGEST / SMALL)

DIGITS: Mapping[str, tuple[int, int]] = {"coarse": (10, 6), "finer": (8, 2), "fine": (0, 8)}
"""Parts of a code, the most important first: how far to shift it, and how many bits to take."""


def codes(values: NDArray[np.floating]) -> NDArray[np.uint16]:
    """The codes of magnitudes; signs are left to the caller."""
    magnitudes = np.minimum(np.abs(values.astype(np.float64)), LARGEST)
    scaled = np.rint(np.log1p(magnitudes / SMALL) * PER_UNIT)
    return np.where(np.isfinite(values), scaled, NOT_FINITE).astype(np.uint16)


def digit(encoded: NDArray[np.uint16], name: str) -> NDArray[np.uint8]:
    """One of the `DIGITS` of each code."""
    shift, bits = DIGITS[name]
    return ((encoded >> shift) & ((1 << bits) - 1)).astype(np.uint8)
