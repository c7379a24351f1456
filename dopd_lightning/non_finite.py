"""A loss that is not a number stops the run, and leaves behind what led to it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dopd_lightning.data import Example


class NonFiniteLossError(FloatingPointError):
    """The loss of a step is NaN or infinite; the message names the step and the file with the batch's prompts."""


def check_finite(loss: Tensor, step: int, examples: Sequence[Example], folder: str | os.PathLike[str]) -> None:
    """Let a finite loss pass.

    Args:
        loss: scalar.
        step: optimizer steps taken so far.
        examples: the batch's; their prompts and privileged texts are saved.
        folder: where to, as ``non_finite_loss_step_<step>.json``.

    Raises:
        NonFiniteLossError: for any other.
    """
    if torch.isfinite(loss):
        return
    path = Path(folder) / f"non_finite_loss_step_{step}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    batch = [{"prompt": example["prompt"], "privileged": example.get("privileged")} for example in examples]
    path.write_text(json.dumps(batch, indent=2, ensure_ascii=False), encoding="utf-8")
    raise NonFiniteLossError(f"the loss of step {step} is {loss.item()}; its prompts are in {path}")
