"""The records in a ``.wandb`` file, which W&B itself only uploads."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEADER, _BLOCK = 7, 32768
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def read_records(path: Path) -> Iterator[Any]:
    """Yield the records (protocol buffers of ``wandb.proto``) up to the place where a killed process cut the file off.

    The format is LevelDB's log behind a header of 7 bytes: blocks of 32 KiB, in which each piece of a record has its
    checksum, length and kind before it.
    """
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # takes a second to import

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
