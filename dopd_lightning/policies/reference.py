"""The reference: the second source of supervision, ``Π_R`` (paper, Sec. 3.2)."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import PreTrainedModel

from dopd_lightning.errors import ConfigError, check_choice, check_range
from dopd_lightning.policies.loading import load_policy
from dopd_lightning.policies.source import freeze

REFERENCE_KINDS = ("student", "snapshot", "ema", "model")


class Reference(nn.Module):
    """A policy that scores the student's responses under privileged information, without gradient.

    Args:
        kind: ``student`` is the student's current weights (the paper's reference; holds none of its own), ``snapshot``
            a frozen copy of the initial student, ``ema`` a moving average that begins there, ``model`` another causal
            LM.
        model: the other policy, for kind ``model`` alone.
        decay: share of the average that an ``ema`` keeps at each optimizer step.

    Raises:
        ConfigError: for an unknown kind, a model missing or in excess, or a decay outside [0, 1].
    """

    def __init__(self, kind: str = "student", model: PreTrainedModel | None = None, decay: float = 0.99) -> None:
        super().__init__()
        self.kind = check_choice("reference.kind", kind, REFERENCE_KINDS)
        self.decay = check_range("reference.decay", decay, at_least=0, at_most=1)
        if (model is not None) != (kind == "model"):
            found = "a model was given" if model is not None else "no model was given"
            raise ConfigError(f"reference.kind={kind}: {found}; a model belongs to kind 'model', and only to it")
        self.weights: nn.Module | None = model
        if model is not None:
            freeze(model)

    def attach(self, student: PreTrainedModel) -> None:
        """Make the copy or the average that this kind needs from the student as it is now."""
        if self.kind == "snapshot":
            self.weights = copy.deepcopy(student)
        elif self.kind == "ema":
            average = AveragedModel(student, multi_avg_fn=_MovingAverage(self.decay))
            average.update_parameters(student)  # the first one only copies: the average begins at the initial student
            self.weights = average
        if self.weights is not None:
            freeze(self.weights)

    def policy(self, student: PreTrainedModel) -> PreTrainedModel:
        """The policy to score with: the student itself, or weights of the reference's own."""
        if self.weights is None:
            return student
        return self.weights.module if isinstance(self.weights, AveragedModel) else self.weights  # type: ignore[return-value]

    def update(self, student: PreTrainedModel) -> None:
        """Follow the student after an optimizer step; only an ``ema`` moves."""
        if isinstance(self.weights, AveragedModel):
            self.weights.update_parameters(student)

    @property
    def learns(self) -> bool:
        """Whether its weights change during training, and so belong in a checkpoint."""
        return self.kind == "ema"


@dataclass(frozen=True)
class _MovingAverage:
    """torch's, as an object that can be sent to another process (``strategy=ddp_spawn``)."""

    decay: float

    def __call__(self, average: Any, current: Any, number: Any) -> None:
        get_ema_multi_avg_fn(self.decay)(average, current, number)  # type: ignore[no-untyped-call]


def as_reference(reference: Reference | PreTrainedModel | str | os.PathLike[str]) -> Reference:
    """The reference itself, or one of the kind that is named, or of the model that is given or named."""
    if isinstance(reference, Reference):
        return reference
    if isinstance(reference, str) and reference in REFERENCE_KINDS:
        return Reference(reference)
    return Reference("model", load_policy(reference) if isinstance(reference, str | os.PathLike) else reference)
