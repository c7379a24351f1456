"""The base of a student with adapters as a source."""

from __future__ import annotations

from transformers import PreTrainedModel

from dopd_lightning.policies import base_of
from dopd_lightning.sources.source import OnePolicy


class Base(OnePolicy):
    """The student without its adapters: no second copy of its weights."""

    weights: PreTrainedModel | None
    keeps_dtype = True

    def __init__(self, shown: float | None = None) -> None:
        super().__init__(shown)
        self.weights = None

    def attach(self, student: PreTrainedModel) -> None:
        self.weights = base_of(student)

    def policy(self, student: PreTrainedModel) -> PreTrainedModel:
        assert self.weights is not None, "attach comes first"
        return self.weights
