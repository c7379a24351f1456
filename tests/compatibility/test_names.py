"""Names that a page, a configuration or an example has shown keep meaning something, wherever the code has moved."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

NAMES = (Path(__file__).parent / "names.txt").read_text(encoding="utf-8").split()


def found(name: str) -> bool:
    """Import a dotted name; its last part may be a parameter of what is named before."""
    parts = name.split(".")
    thing = importlib.import_module(parts[0])
    for end, part in enumerate(parts[1:], start=2):
        if hasattr(thing, part):
            thing = getattr(thing, part)
        elif inspect.ismodule(thing):
            thing = importlib.import_module(".".join(parts[:end]))
        else:
            return end == len(parts) and part in inspect.signature(thing).parameters
    return True


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_was_shown_is_still_there(name):
    assert found(name)
