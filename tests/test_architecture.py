"""The floors of CONTRIBUTING.md hold: a room uses only rooms on lower floors."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLAN = re.findall(r"^ ?(\d+)  (\w+(?: · \w+)*)", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
FLOOR = {room: int(floor) for floor, rooms in PLAN for room in rooms.split(" · ")}
FILES = [*(ROOT / "dopd_lightning").glob("[!_]*.py"), *(ROOT / "dopd_lightning").glob("*/**/*.py")]
FILES += [ROOT / "dopd_lightning" / "__main__.py", *(ROOT / "callbacks").rglob("*.py")]


def room_of(path: Path) -> str:
    within = path.relative_to(ROOT / "dopd_lightning" if path.is_relative_to(ROOT / "dopd_lightning") else ROOT)
    return within.with_suffix("").parts[0]


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) != "assets"], ids=str)
def test_a_room_uses_only_rooms_on_lower_floors(path):
    room = room_of(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or "."] if isinstance(node, ast.ImportFrom) else []
        names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
        for used in (name.split(".")[1] for name in names if f"{name}.".startswith(("dopd_lightning.", "."))):
            assert used == room or FLOOR[used] < FLOOR[room], f"{room} uses {used} (line {node.lineno})"


def test_every_room_has_a_floor():
    assert {room_of(path) for path in FILES} - {"assets"} == set(FLOOR)
