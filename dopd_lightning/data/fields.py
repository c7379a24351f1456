"""Fields of a data set: which are used, and which are not."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from dopd_lightning.data.example import FIELDS, listed

log = logging.getLogger(__name__)


def log_fields(where: str, names: Iterable[str]) -> None:
    """Say once which fields of a data set are used, and which are left to a verifier or a source.

    Args:
        where: the data set.
        names: of its examples' fields, each as often as it comes up.
    """
    found = dict.fromkeys(names)
    known = ", ".join(name for name in FIELDS if name in found)
    others = [name for name in found if name not in FIELDS]
    log.info("%s: with %s%s", where, known, f"; left to a verifier or a source: {listed(others)}" if others else "")
