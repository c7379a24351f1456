"""Another causal language model as a source."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import freeze
from dopd_lightning.sources.source import OnePolicy


class Policy(OnePolicy):
    """A frozen causal language model of the student's family.

    Args:
        model: the model; it is frozen when the source is attached.
        shown: probability, for each example, that it sees privileged text.
    """

    keeps_dtype = True

    def __init__(self, model: PreTrainedModel, shown: float | None = None) -> None:
        super().__init__(shown)
        if not isinstance(model, nn.Module):
            raise ConfigError(f"model: {model!r} is not a model; give a causal language model, or load one by its name")
        self.weights = model

    def attach(self, student: PreTrainedModel) -> None:
        freeze(self.weights)

    def policy(self, student: PreTrainedModel) -> PreTrainedModel:
        return self.weights

    @property
    def given(self) -> Sequence[PreTrainedModel]:
        return [self.weights]
