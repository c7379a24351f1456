"""The tokens that a page speaks of, as a browser reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dopd_lightning.maps.encoding import deflated
from dopd_lightning.maps.visible import LONGEST, shown_alone

LONGEST_PIECE = 4096
"""Bytes that a page holds of a token."""

PLAIN = re.compile(rb"[ -~]{1,%d}" % LONGEST)
"""Pieces that are shown as they are; signs for spaces are replaced in the browser."""


def vocabulary(ids: NDArray[np.int32], pieces: Mapping[int, bytes]) -> str:
    """JSON, deflated, in base64: ascending ids as differences, their bytes as Latin-1, and how they are shown."""
    found = [pieces[int(token)] for token in ids]
    content: dict[str, Any] = {
        "ids": np.diff(ids, prepend=0).tolist(),
        "bytes": [piece[:LONGEST_PIECE].decode("latin-1") for piece in found],
        "shown": {index: shown_alone(piece) for index, piece in enumerate(found) if not PLAIN.fullmatch(piece)},
        "lengths": {index: len(piece) for index, piece in enumerate(found) if len(piece) > LONGEST_PIECE},
    }
    return deflated(json.dumps(content, separators=(",", ":")).encode())
