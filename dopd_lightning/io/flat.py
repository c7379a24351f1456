"""Nested mappings by dotted keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def flat(node: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values of nested mappings; an empty mapping counts as a value.

    Example:
        >>> dict(flat({"a": {"b": 1, "c": {}}, "d": 2}))
        {'a.b': 1, 'a.c': {}, 'd': 2}
    """
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from ((f"{name}.{key}", inner) for key, inner in flat(value))
        else:
            yield str(name), value
