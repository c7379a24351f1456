"""The model as a judge of its own hints, or rather of what passed every other check."""

from __future__ import annotations

import re

from dopd_lightning.hints.reason import Reason

_VERDICT = re.compile(r"^\W*(PASS|FAIL)\b[\s:.*_—–-]*(.*)$", re.MULTILINE)


def read_verdict(reply: str) -> Reason | None:
    """What the judge finds wrong, by the last line that begins with ``PASS`` or ``FAIL``.

    Raises:
        ValueError: if there is no such line.
    """
    verdicts = _VERDICT.findall(reply)
    if not verdicts:
        raise ValueError(f"the judge says neither PASS nor FAIL, but {reply[-80:]!r}")
    verdict, why = verdicts[-1]
    return Reason("judged_bad", f"the judge: {why.strip() or 'no reason given'}") if verdict == "FAIL" else None
