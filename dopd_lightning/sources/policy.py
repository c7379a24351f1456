"""Causal language model, as a source."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import freeze
from dopd_lightning.sources.source import OnePolicy


class Policy(OnePolicy):
    """Frozen causal language model with the student's tokenizer, as a source.

    Args:
        model: the model; it is frozen when the source is attached.
        shown: probability, for each example, that the source sees privileged text.

    Raises:
        ConfigError: if ``model`` is not a model.

    Example:
        >>> model, student = nn.Linear(3, 1), nn.Linear(2, 1)  # in place of language models
        >>> source = Policy(model, shown=0.5)
        >>> source.attach(student)
        >>> [weight.requires_grad for weight in source.policy(student).parameters()]
        [False, False]
    """

    keeps_dtype = True

    def __init__(self, model: PreTrainedModel, shown: float | None = None) -> None:
        super().__init__(shown)
        if not isinstance(model, nn.Module):
            raise ConfigError(
                f"model: {model!r} is not a model; give a causal language model, or load one with load_source"
            )
        self.weights = model

    def attach(self, student: PreTrainedModel) -> None:
        freeze(self.weights)

    def policy(self, student: PreTrainedModel) -> PreTrainedModel:
        return self.weights

    @property
    def given(self) -> Sequence[PreTrainedModel]:
        return [self.weights]
