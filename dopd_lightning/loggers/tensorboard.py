"""TensorBoard logger with one set of curves for a run and its resumptions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger as LightningTensorBoardLogger

from dopd_lightning.loggers.continued import ContinuedLogger


class TensorBoardLogger(ContinuedLogger, LightningTensorBoardLogger):
    """Lightning's TensorBoardLogger, which keeps the event files of earlier attempts beside its own.

    Points of steps that are taken again are hidden. Its arguments are Lightning's.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     first, second = (TensorBoardLogger(folder, name="", version=name) for name in ("first", "second"))
        ...     first.log_metrics({"loss": 3.0}, step=0)
        ...     second.go_on(first.state(step=1), step=1)  # another folder, where TensorBoard finds both attempts
        ...     len(list(Path(folder, "second").glob("events.*")))
        1
    """

    def state(self, step: int) -> dict[str, Any]:
        """Write pending points, and return the folder of the event files."""
        self.save()
        return {"kind": type(self).__name__, "folder": str(Path(self.log_dir).absolute())}

    def go_on(self, state: Mapping[str, Any] | None, step: int) -> None:
        """Copy earlier event files into this folder, and let TensorBoard hide their points from ``step`` on."""
        self._kwargs["purge_step"] = step
        folder = Path(self.log_dir)
        earlier = folder if state is None else Path(state["folder"])
        for path in sorted(earlier.glob("events.*")):
            target = folder / path.name
            if not target.exists():
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
