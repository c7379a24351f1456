"""The trained student in Hugging Face format."""

from __future__ import annotations

import os
from pathlib import Path

import lightning as L

from dopd_lightning.module import DOPDModule
from dopd_lightning.sharding import whole_weights


def save_student(module: DOPDModule, folder: str | os.PathLike[str]) -> None:
    """Write weights (safetensors), config, tokenizer and chat template to where ``from_pretrained`` finds them.

    Of several processes all have to call it; the first writes.
    """
    weights = whole_weights(module.student)
    if module.global_rank == 0:
        Path(folder).mkdir(parents=True, exist_ok=True)
        module.student.save_pretrained(folder, state_dict=weights)
        module.tokenizer.save_pretrained(folder)


class ExportStudent(L.Callback):
    """Save the student when training ends.

    Args:
        folder: where to.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DOPDModule), "ExportStudent exports the student of a DOPDModule"
        save_student(pl_module, self.folder)
