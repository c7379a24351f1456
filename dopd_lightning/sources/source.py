"""Interfaces of sources of supervision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from dopd_lightning.data import Example
from dopd_lightning.errors import check_range
from dopd_lightning.inputs import View
from dopd_lightning.rollout import Rollouts
from dopd_lightning.scores import Scores, Scoring


@dataclass(frozen=True, eq=False)
class ScoringRequest:
    """Batch as one source reads it.

    Attributes:
        rollouts: responses and their examples.
        view: the responses, each after the source's own prompt.
        scoring: computes the scores of a policy.
        top_k: number of likeliest tokens that the fusion rule compares.

    Example:
        >>> import torch
        >>> from dopd_lightning.inputs import view_of
        >>> from dopd_lightning.rollout import as_responses
        >>> examples, responses = [{"prompt": "2 + 3 ="}, {"prompt": "4 ="}], as_responses([[31, 32], [33]])
        >>> rollouts = Rollouts.of(examples, responses, pad_id=0, end_ids={9}, device=torch.device("cpu"))
        >>> view = view_of([[11, 12, 13], [14]], rollouts.responses, pad_id=0)
        >>> request = ScoringRequest(rollouts, view, Scoring(vocabulary_size=100, temperature=1.0, memory=64))
        >>> request.of_rows(torch.tensor([1])).view.inputs["input_ids"]  # prompt 14 and response 33, both padded
        tensor([[ 0,  0, 14, 33,  0]])
    """

    rollouts: Rollouts
    view: View
    scoring: Scoring
    top_k: int = 0

    def of_rows(self, rows: Tensor) -> ScoringRequest:
        """Select some rows ``(n,)`` of the batch."""
        return ScoringRequest(self.rollouts.of_rows(rows), self.view.of_rows(rows), self.scoring, self.top_k)

    def scores_of(self, policy: PreTrainedModel) -> Scores:
        """Return the scores of the responses under ``policy``, without gradient."""
        return self.scoring(policy, self.view, self.rollouts.responses, self.top_k)


class Source(nn.Module, ABC):
    """Source of supervision for the student's responses, without gradient: a `ScoringSource` or a `RewardSource`.

    A source is a module, so that its weights are moved, sharded and saved with the run's other weights. It never holds
    the student; each method gets it as an argument.

    Args:
        shown: probability, for each example, that the source sees privileged text; 1 if not given. (`PrivilegedAccess`
            sets it for the sources ``teacher`` and ``reference``.)

    Attributes:
        keeps_dtype: True if the weights keep the dtype they were loaded in, whatever the run's precision.

    Raises:
        ConfigError: for a probability outside [0, 1].
    """

    keeps_dtype = False

    def __init__(self, shown: float | None = None) -> None:
        super().__init__()
        self.shown = None if shown is None else check_range("shown", shown, at_least=0, at_most=1)

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse examples that the source cannot score; called before responses are written.

        Raises:
            DataError: naming the example.
        """

    def attach(self, student: PreTrainedModel) -> None:
        """Set up from the initial student; called once, before training."""

    def update(self, student: PreTrainedModel) -> None:
        """Update from the student after an optimizer step."""

    def saves(self, name: str) -> bool:
        """Return whether an entry of the state dict changes in training and therefore belongs in a checkpoint."""
        return False

    @property
    def averages(self) -> Sequence[Tensor]:
        """Moving averages. Their small steps need float32: low precision would round them away."""
        return []

    @property
    def given(self) -> Sequence[PreTrainedModel]:
        """Models that the source was given; they are frozen with it."""
        return []


class ScoringSource(Source):
    """Source of distributions over the vocabulary, one for each token of a response."""

    @abstractmethod
    def policies(self, student: PreTrainedModel) -> Mapping[str, PreTrainedModel]:
        """Return the policies that the source scores with: one under the name ``""``, or several by name."""

    @abstractmethod
    def scores(self, student: PreTrainedModel, request: ScoringRequest) -> Scores:
        """Return the scores of the responses. All processes call it, even one without responses."""


class RewardSource(Source):
    """Source of rewards: one number for each response, or one for each token."""

    def begin(self, request: ScoringRequest) -> None:
        """Start work that can run in parallel with the forward passes of the same step."""

    @abstractmethod
    def rewards(self, student: PreTrainedModel, request: ScoringRequest) -> Tensor:
        """Return rewards ``(batch,)``, or ``(batch, response)`` of each token; NaN where unknown.

        All processes call it, even one without responses.
        """


class OnePolicy(ScoringSource):
    """Source that scores with one policy."""

    @abstractmethod
    def policy(self, student: PreTrainedModel) -> PreTrainedModel:
        """Return the policy to score with."""

    def policies(self, student: PreTrainedModel) -> Mapping[str, PreTrainedModel]:
        return {"": self.policy(student)}

    def scores(self, student: PreTrainedModel, request: ScoringRequest) -> Scores:
        return request.scores_of(self.policy(student))
