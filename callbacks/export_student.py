"""The trained student in Hugging Face format."""

from __future__ import annotations

import os
from pathlib import Path

import lightning as L

from dopd_lightning.ends import ends_named
from dopd_lightning.errors import WriteError, check_choice
from dopd_lightning.files import written_whole_folder
from dopd_lightning.module import DOPDModule
from dopd_lightning.policies import has_adapters, merged
from dopd_lightning.processes import failing_together
from dopd_lightning.sharding import is_sharded, whole_weights

ADAPTERS = ("merge", "keep")
_ADVICE = "make room, and write it with stage=export from the last checkpoint"


def save_student(module: DOPDModule, folder: str | os.PathLike[str], adapters: str = "merge") -> None:
    """Write weights (safetensors), config, tokenizer and chat template to where ``from_pretrained`` finds them.

    Of several processes all have to call it; the first writes.

    Args:
        module: is left as it is.
        folder: where to.
        adapters: of a student that has some: ``merge`` them into a whole model, which loads without peft, or ``keep``
            them alone, in peft's format, for the base that they were trained on. Those of a sharded student are kept.

    Raises:
        ConfigError: for another word.
        WriteError: if the disk is full, and the like; what was in the folder before still is.
    """
    check_choice("adapters", adapters, ADAPTERS)
    student = module.student
    if adapters == "merge" and has_adapters(student) and not is_sharded(student):
        student = merged(student)
    weights = whole_weights(student)
    with failing_together((WriteError,), module.device):
        if module.global_rank == 0:
            with written_whole_folder(folder, "the student", _ADVICE) as part, ends_named(student, module.eos_ids):
                student.save_pretrained(part, state_dict=weights)
                module.tokenizer.save_pretrained(part)


class ExportStudent(L.Callback):
    """Save the student when training ends.

    Args:
        folder, adapters: see :func:`save_student`.
    """

    def __init__(self, folder: str | os.PathLike[str], adapters: str = "merge") -> None:
        self.folder = Path(folder)
        self.adapters = check_choice("adapters", adapters, ADAPTERS)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DOPDModule), "ExportStudent exports the student of a DOPDModule"
        save_student(pl_module, self.folder, self.adapters)
