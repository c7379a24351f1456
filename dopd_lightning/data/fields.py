"""Log of the fields of a dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from dopd_lightning.data.example import FIELDS, listed

log = logging.getLogger(__name__)


def log_fields(where: str, names: Iterable[str]) -> None:
    """Log which fields of a dataset are used, and which only verifiers or sources may read.

    Args:
        where: name of the dataset.
        names: names of the fields of its examples, with repetitions.
    """
    found = dict.fromkeys(names)
    known = ", ".join(name for name in FIELDS if name in found)
    others = [name for name in found if name not in FIELDS]
    log.info("%s: uses %s%s", where, known, f"; only for verifiers and sources: {listed(others)}" if others else "")
