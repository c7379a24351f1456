"""TensorBoard's curves of one run, in however many attempts it was made."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger as LightningTensorBoardLogger

from dopd_lightning.loggers.continued import ContinuedLogger


class TensorBoardLogger(ContinuedLogger, LightningTensorBoardLogger):
    """Lightning's, with the earlier attempts' event files beside its own; points of steps taken again are hidden.

    Args:
        as Lightning's.
    """

    def state(self, step: int) -> dict[str, Any]:
        """The folder of the event files."""
        self.save()
        return {"kind": type(self).__name__, "folder": str(Path(self.log_dir).absolute())}

    def go_on(self, state: Mapping[str, Any] | None, step: int) -> None:
        """Copy earlier event files from another folder, and tell TensorBoard to hide their points from ``step`` on."""
        self._kwargs["purge_step"] = step
        folder = Path(self.log_dir)
        earlier = folder if state is None else Path(state["folder"])
        for path in sorted(earlier.glob("events.*")):
            target = folder / path.name
            if not target.exists():
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
