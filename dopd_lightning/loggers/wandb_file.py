"""Reader of ``.wandb`` files; W&B has no public one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEADER, _BLOCK = 7, 32768
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def read_records(path: Path) -> Iterator[Any]:
    """Yield the records (protocol buffers of ``wandb.proto``), up to an incomplete one that a killed process left.

    The format is LevelDB's log format after a header of 7 bytes: blocks of 32 KiB, in which each piece of a record
    follows its checksum, length and kind.
    """
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # imported late: takes a second

    data, place, record = path.read_bytes(), _HEADER, b""
    while place + _HEADER <= len(data):
        left = _BLOCK - place % _BLOCK
        if left < _HEADER:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        piece = data[place + _HEADER : place + _HEADER + length]
        if kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST) or len(piece) < length:
            return
        record = piece if kind in (_WHOLE, _FIRST) else record + piece
        place += _HEADER + length
        if kind in (_WHOLE, _LAST):
            yield Record.FromString(record)
