"""The initial student as a source."""

from __future__ import annotations

from transformers import PreTrainedModel

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies.freezing import frozen_copy
from dopd_lightning.sources.source import OnePolicy


class Snapshot(OnePolicy):
    """A frozen copy of the student as it was before training.

    What is frozen of the student (the base of adapters) is shared with it, and only what learns is copied.

    Example:
        >>> Snapshot(shown=0.5).shown
        0.5
    """

    weights: PreTrainedModel | None

    def __init__(self, shown: float | None = None) -> None:
        super().__init__(shown)
        self.weights = None
        self._learns: list[bool] = []  # whether the student's weight of that number did when the copy was made

    def attach(self, student: PreTrainedModel) -> None:
        if self.weights is not None:
            raise ConfigError(f"{type(self).__name__.lower()}: it is a source of another module; make one for each")
        self.weights = frozen_copy(student)
        self._learns = [weight.requires_grad for weight in student.parameters()]

    def policy(self, student: PreTrainedModel) -> PreTrainedModel:
        """The copy.

        Raises:
            ConfigError: if weights that are shared with the student have begun to learn since :meth:`attach`.
        """
        assert self.weights is not None, "attach comes first"
        if any(weight.requires_grad for weight in self.weights.parameters()):
            raise ConfigError(
                f"{type(self).__name__.lower()}: weights of the student that were frozen have begun to learn, and this "
                "source shares them; unfreeze them before the module is made"
            )
        return self.weights
