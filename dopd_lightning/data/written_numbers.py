"""Pattern of written numbers, for verifiers that read answers and checks that search hints for results."""

from __future__ import annotations

import re
from fractions import Fraction

NUMBER = re.compile(
    r"(?:(?<![0-9A-Za-z)\]])(?P<sign>[-+]))?[$£€]?"
    r"(?P<number>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?P<exponent>[eE][-+]?[0-9]{1,3}(?![0-9]))?(?:\s?/\s?(?P<denominator>[0-9]+))?"
)
"""``-£1,234.50``, ``1e-3``, ``1/2``; see :func:`value_of`."""


def value_of(match: re.Match[str]) -> Fraction | None:
    """Return the exact value of a match of :data:`NUMBER`; ``None`` for more digits than Python reads, or ``1/0``."""
    try:
        digits = match["number"].replace(",", "") + (match["exponent"] or "")
        value = Fraction(digits) / int(match["denominator"] or 1)
    except (ValueError, ZeroDivisionError):
        return None
    return -value if match["sign"] == "-" else value
