"""Interface of a source of supervision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from dopd_lightning.data import Example
from dopd_lightning.errors import check_range
from dopd_lightning.rollout import Rollouts
from dopd_lightning.scores import Scores, Scoring, View


@dataclass(frozen=True, eq=False)
class Reading:
    """A batch, as one source reads it.

    Attributes:
        rollouts: responses and the examples that they answer.
        view: the same responses behind the source's own prompts.
        scoring: makes scores of a policy.
        top_k: how many of the likeliest tokens the fusion rule will compare.
    """

    rollouts: Rollouts
    view: View
    scoring: Scoring
    top_k: int = 0

    def of_rows(self, rows: Tensor) -> Reading:
        """Select some rows ``(n,)`` of the batch."""
        return Reading(self.rollouts.of_rows(rows), self.view.of_rows(rows), self.scoring, self.top_k)

    def scores_of(self, policy: PreTrainedModel) -> Scores:
        """Score the responses by ``policy``, without gradient."""
        return self.scoring(policy, self.view, self.rollouts.responses, self.top_k)


class Source(nn.Module, ABC):
    """Scores the student's responses, without gradient.

    It is a module, so that its weights are moved, sharded and saved with the others. The student itself is never a part
    of it: it is handed to each call.

    Args:
        shown: probability, for each example, that it sees privileged text; always if not given. (Of the sources
            ``teacher`` and ``reference``, `PrivilegedAccess` says it.)

    Attributes:
        keeps_dtype: whether its weights keep the dtype they were loaded in, whatever the run's precision.

    Raises:
        ConfigError: for a probability outside [0, 1].
    """

    keeps_dtype = False

    def __init__(self, shown: float | None = None) -> None:
        super().__init__()
        self.shown = None if shown is None else check_range("shown", shown, at_least=0, at_most=1)

    @abstractmethod
    def policies(self, student: PreTrainedModel) -> Mapping[str, PreTrainedModel]:
        """The policies that it scores with: one, by the name ``""``, or several by names of their own."""

    @abstractmethod
    def scores(self, student: PreTrainedModel, reading: Reading) -> Scores:
        """Scores of the responses. Under several processes all call it, also one that has no response."""

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse examples that the source cannot score; called before anything is written or scored.

        Raises:
            DataError: naming the example.
        """

    def attach(self, student: PreTrainedModel) -> None:
        """Take what this kind needs from the student as it is now; called once, before training."""

    def update(self, student: PreTrainedModel) -> None:
        """Follow the student after an optimizer step."""

    def saves(self, name: str) -> bool:
        """Tell whether a value of its state dict changes in training, and so belongs in a checkpoint."""
        return False

    @property
    def averages(self) -> Sequence[Tensor]:
        """Weights that move by small steps, which a low precision would round away."""
        return []

    @property
    def given(self) -> Sequence[PreTrainedModel]:
        """Models of its own that it was given, which are frozen with it."""
        return []


class OnePolicy(Source):
    """A source that scores with one policy."""

    @abstractmethod
    def policy(self, student: PreTrainedModel) -> PreTrainedModel:
        """The policy to score with."""

    def policies(self, student: PreTrainedModel) -> Mapping[str, PreTrainedModel]:
        return {"": self.policy(student)}

    def scores(self, student: PreTrainedModel, reading: Reading) -> Scores:
        return reading.scores_of(self.policy(student))
