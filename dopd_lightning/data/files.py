"""Check of data files before they are opened."""

from __future__ import annotations

import os
import stat

from dopd_lightning.errors import DataError


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raise DataError if a path exists and is neither file nor folder: reading a pipe or a device may never end.

    Raises:
        DataError: naming the path.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # opening it raises a better error
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise DataError(f"{path}: it is {kind}; data is read more than once, so write it into a file")
