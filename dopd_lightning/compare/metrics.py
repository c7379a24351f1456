"""The order of metrics, and which of them belong together, by their names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FIRST = ("accuracy", "val", "test", "train")
_LEADS = ("accuracy", "loss")


def family(metric: str) -> str:
    """Return a metric's prefix: ``train/share`` of ``train/share/LH``, ``accuracy`` of ``accuracy.teacher``."""
    return metric[: max(_cut(metric), 0)]


def member(metric: str) -> str:
    """The rest of the name: ``LH`` of ``train/share/LH``."""
    return metric[_cut(metric) + 1 :] or metric


def by_family(metrics: Iterable[str]) -> dict[str, list[str]]:
    """Metrics by what their names begin with: accuracies, validation, training with its parts, everything else.

    Within a family the loss comes first, the others as they come.
    """
    families: dict[str, list[str]] = {}
    for metric in metrics:
        families.setdefault(family(metric), []).append(metric)
    return {
        name: sorted(families[name], key=lambda metric: member(metric) not in _LEADS)
        for name in sorted(families, key=_place)
    }


def _cut(metric: str) -> int:
    return max(metric.rfind("/"), metric.rfind("."))


def _place(name: str) -> tuple[int, str]:
    top = re.split(r"[/.]", name)[0]
    return (_FIRST.index(top) if top in _FIRST else len(_FIRST)), name
