"""Checks that stop a run at a loss or a weight that is NaN or infinite."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from dopd_lightning.data import Example
from dopd_lightning.distributed.processes import number_of_processes, process_number, summed
from dopd_lightning.errors import WriteError
from dopd_lightning.io.files import write_whole
from dopd_lightning.record import TokenRecord


class NonFiniteLossError(FloatingPointError):
    """NaN or infinity in a loss, log-probability or weight; the message names it, its step, and the saved prompts."""


def check_finite(
    loss: Tensor, record: TokenRecord, step: int, examples: Sequence[Example], folder: str | os.PathLike[str]
) -> None:
    """Raise NonFiniteLossError if the loss or a source's log-probability is not finite.

    The log-probabilities are checked in addition to the loss, because a rule that routes by comparisons would silently
    send every token away from a source with NaN.

    Args:
        loss: scalar.
        record: record of the step.
        step: number of optimizer steps so far.
        examples: examples of the batch; their prompts and privileged texts are saved.
        folder: folder for the file ``non_finite_loss_step_<step>.json``, whose name has the rank if there are several
            processes.

    Raises:
        NonFiniteLossError: for NaN or infinity.
    """
    values = {"loss": loss} | {f"{name}_logp": logp for name, logp in record.logp.items() if name != "student"}
    for name, value in values.items():
        if not torch.isfinite(value).all():
            process = f"_process_{process_number()}" if number_of_processes() > 1 else ""  # each has its own batch
            path = Path(folder) / f"non_finite_loss_step_{step}{process}.json"
            batch = [{"prompt": example["prompt"], "privileged": example.get("privileged")} for example in examples]
            where = f"its prompts are in {path}"
            try:
                write_whole(path, json.dumps(batch, indent=2, ensure_ascii=False), "the file of its prompts")
            except WriteError as error:
                where = str(error)
            raise NonFiniteLossError(f"the {name} of step {step} is not finite; {where}")


@torch.no_grad()
def check_weights(weights: Iterable[tuple[str, Tensor]], when: str) -> None:
    """Raise NonFiniteLossError if a weight is not finite. All processes call it, each with its shards.

    It reads each number once, which takes about a thirtieth of a step of AdamW on a CPU.

    Args:
        weights: weights by name.
        when: place in the run for the error message, such as ``after step 3``.

    Raises:
        NonFiniteLossError: for NaN or infinity, in all processes.
    """
    here = {name: weight.to_local() if isinstance(weight, DTensor) else weight.detach() for name, weight in weights}
    here = {name: weight for name, weight in here.items() if weight.is_floating_point() and weight.numel()}
    if not here:
        return
    extremes = torch.stack([torch.stack(torch.aminmax(weight)).float() for weight in here.values()])
    finite = extremes.isfinite().all(dim=1)
    if summed((~finite).sum()):
        bad = [name for name, right in zip(here, finite.tolist(), strict=True) if not right]
        which = f"{bad[0]} and {len(bad) - 1} more" if bad[1:] else "".join(bad) or "those of another process"
        raise NonFiniteLossError(
            f"the student's weights are not finite {when} ({which}): the learning rate is too large, a gradient "
            "overflowed, or the loaded weights were not finite. They are not saved; lower optimizer.lr, or clip "
            "gradients (trainer.gradient_clip_val)"
        )
