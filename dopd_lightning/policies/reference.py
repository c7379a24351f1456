"""The reference: the second source of supervision, ``Π_R`` (paper, Sec. 3.2)."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dopd_lightning.errors import ConfigError, check_choice, check_range
from dopd_lightning.policies.freezing import freeze, frozen_copy
from dopd_lightning.policies.loading import load_policy

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
        self.weights = model
        self._learns: list[bool] = []  # whether the student's weight of that number did when the copy was made
        self.froze: list[nn.Parameter] = []
        if model is not None:
            self.froze = [weight for weight in model.parameters() if weight.requires_grad]
            freeze(model)

    def attach(self, student: PreTrainedModel) -> None:
        """Make the copy or the average that this kind needs from the student as it is now.

        What is frozen of the student (the base of adapters) is shared with it, and only what learns is copied.
        """
        if self.kind in ("snapshot", "ema"):
            self.weights = frozen_copy(student)
            self._learns = [weight.requires_grad for weight in student.parameters()]

    def policy(self, student: PreTrainedModel) -> PreTrainedModel:
        """The policy to score with: the student itself, or weights of the reference's own.

        Raises:
            ConfigError: if weights that are shared with the student have begun to learn since :meth:`attach`.
        """
        if self.weights is None:
            return student
        if any(weight.requires_grad for weight in self.weights.parameters()):
            raise ConfigError(
                f"reference.kind={self.kind}: weights of the student that were frozen have begun to learn, and the "
                "reference shares them; unfreeze them before the module is made"
            )
        return self.weights

    @torch.no_grad()
    def update(self, student: PreTrainedModel) -> None:
        """Follow the student after an optimizer step; only an ``ema`` moves."""
        if self.averages:
            torch._foreach_lerp_(self.averages, self._moving(student), 1 - self.decay)

    @property
    def averages(self) -> list[Tensor]:
        """The weights that move, those of an ``ema``."""
        if self.kind != "ema" or self.weights is None:
            return []
        return self._moving(self.weights)

    def _moving(self, policy: PreTrainedModel) -> list[Tensor]:
        return [weight for weight, learns in zip(policy.parameters(), self._learns, strict=True) if learns]

    @property
    def learns(self) -> bool:
        """Whether its weights change during training, and so belong in a checkpoint."""
        return self.kind == "ema"


def as_reference(reference: Reference | PreTrainedModel | str | os.PathLike[str]) -> Reference:
    """The reference itself, or one of the kind that is named, or of the model that is given or named."""
    if isinstance(reference, Reference):
        return reference
    if isinstance(reference, str) and reference in REFERENCE_KINDS:
        return Reference(reference)
    return Reference("model", load_policy(reference) if isinstance(reference, str | os.PathLike) else reference)
