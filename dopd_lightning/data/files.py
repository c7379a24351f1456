"""Data files: what must not even be opened."""

from __future__ import annotations

import os
import stat

from dopd_lightning.errors import DataError


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse what is there and neither a file nor a folder: to read a pipe or a device may take for ever.

    Raises:
        DataError: naming the path.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # whoever opens it says why it cannot be
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise DataError(f"{path}: it is {kind}; data is read more than once, so write it into a file")
