"""A loss that is not a number stops the run, and leaves behind what led to it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dopd_lightning.data import Example
from dopd_lightning.errors import WriteError
from dopd_lightning.files import write_whole
from dopd_lightning.record import TokenRecord


class NonFiniteLossError(FloatingPointError):
    """A step met NaN or infinity; the message names what, the step, and the file with the batch's prompts."""


def check_finite(
    loss: Tensor, record: TokenRecord, step: int, examples: Sequence[Example], folder: str | os.PathLike[str]
) -> None:
    """Let finite numbers pass.

    The sources' log-probabilities are looked at besides the loss: a rule that routes by comparisons would quietly send
    every token away from a source of NaN.

    Args:
        loss: scalar.
        record: of the step.
        step: optimizer steps taken so far.
        examples: the batch's; their prompts and privileged texts are saved.
        folder: where to, as ``non_finite_loss_step_<step>.json``.

    Raises:
        NonFiniteLossError: for any other.
    """
    values = {"loss": loss, "teacher_logp": record.teacher_logp, "reference_logp": record.reference_logp}
    for name, value in values.items():
        if value is not None and not torch.isfinite(value).all():
            path = Path(folder) / f"non_finite_loss_step_{step}.json"
            batch = [{"prompt": example["prompt"], "privileged": example.get("privileged")} for example in examples]
            where = f"its prompts are in {path}"
            try:
                write_whole(path, json.dumps(batch, indent=2, ensure_ascii=False), "the file of its prompts")
            except WriteError as error:
                where = str(error)
            raise NonFiniteLossError(f"the {name} of step {step} is not finite; {where}")
