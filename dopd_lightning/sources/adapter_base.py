"""Base of a student with adapters, as a source."""

from __future__ import annotations

from transformers import PreTrainedModel

from dopd_lightning.policies import base_of
from dopd_lightning.sources.source import OnePolicy


class Base(OnePolicy):
    """The student without its adapters, as a source; it shares the base's weights with the student.

    Args:
        shown: probability, for each example, that the source sees privileged text.

    Example:
        >>> from importlib.resources import files
        >>> from dopd_lightning.policies import load_lora_policy
        >>> student, source = load_lora_policy(files("dopd_lightning.assets") / "quickstart_student", r=2), Base()
        >>> source.attach(student)
        >>> base = source.policy(student)
        >>> student.num_parameters() - base.num_parameters()  # the adapters
        10752
        >>> base.get_input_embeddings().weight is student.get_input_embeddings().weight
        True
    """

    weights: PreTrainedModel | None
    keeps_dtype = True

    def __init__(self, shown: float | None = None) -> None:
        super().__init__(shown)
        self.weights = None

    def attach(self, student: PreTrainedModel) -> None:
        self.weights = base_of(student)

    def policy(self, student: PreTrainedModel) -> PreTrainedModel:
        assert self.weights is not None, "attach has not been called"
        return self.weights
