"""The trained student in Hugging Face format."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from transformers import GenerationConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from dopd_lightning.distributed.processes import failing_together
from dopd_lightning.distributed.sharding import is_sharded, whole_weights
from dopd_lightning.errors import ConfigError, WriteError, check_choice
from dopd_lightning.io.files import written_whole_folder
from dopd_lightning.policies import evaluating, has_adapters, merged
from dopd_lightning.rollout.ends import ends_named
from dopd_lightning.training.module import DOPDModule
from dopd_lightning.training.non_finite import check_weights
from dopd_lightning.training.probes import difference

ADAPTERS = ("merge", "keep")
_PROBE = "12 + 34 = 46"
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
        NonFiniteLossError: if a weight is not finite.
        ConfigError: for another word, or if adapters cannot be merged into a model that says the same.
        WriteError: if the disk is full, and the like; what was in the folder before still is.
    """
    check_choice("adapters", adapters, ADAPTERS)
    student = module.student
    check_weights(student.named_parameters(), "at the export")
    checked = has_adapters(student) and not is_sharded(student)
    if checked and adapters == "merge":
        student = merged(student)
    elif checked:
        checked = bool(student.name_or_path)  # where their base is
    weights = whole_weights(student)
    with failing_together((ConfigError, WriteError), module.device):
        if module.global_rank == 0:
            with written_whole_folder(folder, "the student", _ADVICE) as part:
                with ends_named(student, module.eos_ids):
                    _save(student, part, weights)
                module.tokenizer.save_pretrained(part)
                del weights
                if checked:
                    _check_same(module, _loaded(student, part), adapters)


def _save(student: PreTrainedModel, folder: Path, weights: dict[str, Any]) -> None:
    """Write the model, and its generation config whatever it says.

    Transformers reads one that contradicts itself (a temperature without ``do_sample``), and refuses to write it.
    """
    generation_config = student.generation_config
    student.generation_config = None if generation_config is None else GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        student.save_pretrained(folder, state_dict=weights)
    except RuntimeError as error:
        if not has_adapters(student):
            raise
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(f"adapters: 'keep' cannot write these ({reason}…); export with adapters=merge") from error
    finally:
        student.generation_config = generation_config
    if generation_config is not None and student.can_generate():
        generation_config.to_json_file(folder / GENERATION_CONFIG_NAME)


def _loaded(student: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model that a user loads from the folder: a whole one, or a student's adapters on their base."""
    model = type(student)
    if not has_adapters(student):
        return model.from_pretrained(folder, dtype=student.dtype)
    from peft import PeftModel

    revision = getattr(student.config, "_commit_hash", None) or "main"
    base = model.from_pretrained(student.name_or_path, config=student.config, dtype=student.dtype, revision=revision)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")  # peft asks for it
        return PeftModel.from_pretrained(base, folder)  # type: ignore[return-value]


@torch.no_grad()
def _check_same(module: DOPDModule, loaded: PreTrainedModel, adapters: str) -> None:
    """Refuse an export that says something else than the student that was trained, with its adapters, says."""
    ids = torch.tensor([module.tokenizer.encode(_PROBE, add_special_tokens=False)])
    with evaluating(module.student):
        expected = module.student(input_ids=ids.to(module.student.device), use_cache=False).logits.cpu()
    loaded.eval()  # type: ignore[no-untyped-call]
    nats = difference(loaded(input_ids=ids, use_cache=False).logits, expected, module.student)
    if nats is not None:
        other = {"merge": "keep", "keep": "merge"}[adapters]
        raise ConfigError(
            f"adapters: {adapters!r} makes a model whose log-probabilities differ by up to {nats:.2g} nats from the "
            f"trained student's; nothing was written. Export with adapters={other} (stage=export reads a checkpoint)"
        )


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
