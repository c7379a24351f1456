"""Data files: what must not even be opened."""

from __future__ import annotations

import os
from pathlib import Path

from dopd_lightning.errors import DataError


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse what is there and neither a file nor a folder: to read a pipe or a device may take for ever.

    Raises:
        DataError: naming the path.
    """
    found = Path(path)
    if found.exists() and not found.is_file() and not found.is_dir():
        kind = "a named pipe" if found.is_fifo() else "a socket" if found.is_socket() else "a device"
        raise DataError(f"{path}: it is {kind}; data is read more than once, so write it into a file")
