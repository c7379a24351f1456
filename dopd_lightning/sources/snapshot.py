"""Initial student, as a source."""

from __future__ import annotations

from transformers import PreTrainedModel

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies.freezing import frozen_copy
from dopd_lightning.sources.source import OnePolicy


class Snapshot(OnePolicy):
    """Frozen copy of the student before training, as a source.

    Only trainable weights are copied. Frozen weights, such as the base of adapters, are shared with the student.

    Args:
        shown: probability, for each example, that the source sees privileged text.

    Example:
        >>> from torch import nn
        >>> student = nn.Linear(2, 1, bias=False)  # in place of a language model
        >>> _ = student.weight.data.fill_(1.0)
        >>> source = Snapshot()
        >>> source.attach(student)
        >>> _ = student.weight.data.fill_(5.0)
        >>> source.policy(student).weight.tolist()
        [[1.0, 1.0]]
    """

    weights: PreTrainedModel | None

    def __init__(self, shown: float | None = None) -> None:
        super().__init__(shown)
        self.weights = None
        self._learns: list[bool] = []  # requires_grad of each parameter of the student when it was copied

    def attach(self, student: PreTrainedModel) -> None:
        if self.weights is not None:
            raise ConfigError(
                f"{type(self).__name__.lower()}: this object is already a source of another module; make a new one"
            )
        self.weights = frozen_copy(student)
        self._learns = [weight.requires_grad for weight in student.parameters()]

    def policy(self, student: PreTrainedModel) -> PreTrainedModel:
        """Return the copy.

        Raises:
            ConfigError: if weights that are shared with the student were unfrozen after :meth:`attach`.
        """
        assert self.weights is not None, "attach has not been called"
        if any(weight.requires_grad for weight in self.weights.parameters()):
            raise ConfigError(
                f"{type(self).__name__.lower()}: it shares the student's frozen weights, but they were unfrozen later; "
                "unfreeze them before the module is made"
            )
        return self.weights
