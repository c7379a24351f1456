"""Verdicts of the model, as a judge, on hints that passed every other check."""

from __future__ import annotations

import re

from dopd_lightning.hints.reason import Reason

_VERDICT = re.compile(r"\W*(?:verdict\W+)?(?P<verdict>(?-i:PASS|FAIL))\b[\s:.*_—–-]*(?P<why>.*)", re.IGNORECASE)


def read_verdict(reply: str) -> Reason | None:
    """Return the judge's reason against a hint, from the last line that begins with ``PASS`` or ``FAIL``.

    Raises:
        ValueError: if there is no such line, or text follows a ``PASS``, which may contradict it.
    """
    lines = [line for line in reply.splitlines() if line.strip()]
    verdicts = [(place, match) for place, line in enumerate(lines, start=1) if (match := _VERDICT.match(line))]
    place, match = verdicts[-1] if verdicts else (0, None)
    if match is None or (match["verdict"] == "PASS" and place < len(lines)):
        raise ValueError(f"the judge's reply must end with PASS or FAIL, found {reply[-80:]!r}")
    if match["verdict"] == "PASS":
        return None
    return Reason("judged_bad", f"the judge: {match['why'].strip() or 'no reason given'}")
