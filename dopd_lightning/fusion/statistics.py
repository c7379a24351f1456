"""Statistics of response tokens under the student and the sources, the input of fusion rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from dopd_lightning.divergence import Divergence, Term, Toward, loss_of
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion.routing import Thresholds, advantage_gap
from dopd_lightning.inputs.response_mask import scattered
from dopd_lightning.scores import LogitScores, Scores
from dopd_lightning.scores.distribution import check_same_shape

_STATISTICS = ("logp", "entropy", "divergence")


@dataclass(frozen=True, eq=False)
class PolicyStatistics:
    """Statistics of each response token under one policy, see `TokenStatistics`.

    Attributes:
        scores: under the policy.
        student: scores under the bare student.
    """

    scores: Scores
    student: Scores

    @cached_property
    def logp(self) -> Tensor:
        """Log-probability of the response token, in nats."""
        return scattered(self.scores.logp.float(), self.scores.mask)

    @cached_property
    def entropy(self) -> Tensor:
        """Entropy, in nats."""
        return scattered(self.scores.entropy.float(), self.scores.mask)

    @cached_property
    def owner(self) -> Tensor:
        """Index of the source's member that scored each token, int64: its domain. 0 for a source without members."""
        owner, mask = self.scores.owner, self.scores.mask
        return torch.zeros_like(mask, dtype=torch.long) if owner is None else scattered(owner, mask)

    @cached_property
    def divergence(self) -> Tensor:
        """KL(student ‖ this policy) over the full vocabulary, in nats, at the loss temperature."""
        term = Term("divergence", Toward("policy"), Divergence(), self.scores.mask.float())
        with torch.no_grad():
            return loss_of(self.student, {"policy": self.scores}, [term]).per_token.float()


@dataclass(frozen=True, eq=False)
class TokenStatistics:
    """Statistics of response tokens under the student and each source, detached, computed on first use.

    ``statistics["maths"].logp`` is the log-probability under the source of this name, ``statistics["student"].logp``
    that under the bare student; ``statistics.maths_logp`` is a short form. Each is ``(batch, response)``, float32, and
    0 where masked. Logits and ids at masked places are not read.

    Attributes:
        mask: ``(batch, response)``, bool, true at response tokens.
        response_ids: ``(batch, response)``, the sampled tokens.
        student: scores under the bare student.
        sources: scores under each source that takes part, by name.
        thresholds: for a rule that routes; None for means over these tokens.
        end_ids: tokens that end a response; None if unknown.
        rewards: rewards by source: ``(batch,)``, one per response, or ``(batch, response)``; NaN where unknown.
        group: ``(batch,)``, int64, index of the prompt, shared by all its responses; None if unknown.

    Example:
        >>> logits, ids = torch.zeros(1, 2, 4), torch.tensor([[3, 0]])
        >>> statistics = TokenStatistics.from_logits(logits, {"maths": logits}, ids, torch.tensor([[True, True]]))
        >>> statistics["maths"].logp.exp()
        tensor([[0.2500, 0.2500]])
    """

    mask: Tensor
    response_ids: Tensor
    student: Scores
    sources: Mapping[str, Scores]
    thresholds: Thresholds | None = None
    end_ids: Sequence[int] | None = None
    rewards: Mapping[str, Tensor] = field(default_factory=dict)
    group: Tensor | None = None

    @classmethod
    def from_logits(
        cls,
        student_logits: Tensor,
        source_logits: Mapping[str, Tensor],
        response_ids: Tensor,
        mask: Tensor,
        end_ids: Sequence[int] | None = None,
        rewards: Mapping[str, Tensor] | None = None,
        group: Tensor | None = None,
    ) -> TokenStatistics:
        """Compute from logits ``(batch, response, vocab)``, each predicting the response token at its place.

        Args:
            student_logits: logits of the bare student.
            source_logits: logits of each source that takes part, by name.
            response_ids: ``(batch, response)``.
            mask: ``(batch, response)``, true at response tokens.
            end_ids: tokens that end a response; None if unknown.
            rewards: rewards by source: ``(batch,)`` or ``(batch, response)``; NaN where unknown.
            group: ``(batch,)``, int64, index of the prompt, shared by all its responses.

        Raises:
            ValueError: if shapes do not match.
            TypeError: if sources are not given by name.
        """
        if not isinstance(source_logits, Mapping):
            raise TypeError("TokenStatistics.from_logits: source_logits must be logits by name, {'teacher': logits}")
        check_same_shape("TokenStatistics", student=student_logits, **source_logits)
        student = LogitScores(student_logits, response_ids, mask)
        sources = {name: LogitScores(logits, response_ids, mask) for name, logits in source_logits.items()}
        return cls(mask.bool(), response_ids, student, sources, end_ids=end_ids, rewards=rewards or {}, group=group)

    def __getitem__(self, name: str) -> PolicyStatistics:
        """Return the statistics of the student or of a source.

        Raises:
            ConfigError: for a source that does not take part.
        """
        if name not in self._by_policy:
            raise ConfigError(
                f"statistics: there are no scores of the {name}; a rule that uses it must name {name!r} in `needs`"
            )
        return self._by_policy[name]

    def reward(self, name: str) -> Tensor:
        """Return the rewards of a source, ``(batch,)`` or ``(batch, response)``; NaN where unknown.

        Raises:
            ConfigError: if there are no rewards of the source.
        """
        if name not in self.rewards:
            raise ConfigError(
                f"statistics: no rewards of the source {name!r}; a rule that uses it must name {name!r} in `needs`, "
                "and it must be a source of rewards, such as an outcome"
            )
        return self.rewards[name]

    def __getattr__(self, name: str) -> Tensor:
        policy, _, statistic = name.rpartition("_")
        if statistic not in _STATISTICS or not policy:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        found: Tensor = getattr(self[policy], statistic)
        return found

    @cached_property
    def _by_policy(self) -> dict[str, PolicyStatistics]:
        scores = {"student": self.student, **self.sources}
        return {name: PolicyStatistics(each, self.student) for name, each in scores.items()}

    @cached_property
    def ends(self) -> Tensor:
        """True at tokens that end a response, bool."""
        if self.end_ids is None:
            raise ConfigError("ends: nobody said which tokens end a response; give the statistics their `end_ids`")
        ids = torch.tensor(self.end_ids, dtype=self.response_ids.dtype, device=self.response_ids.device)
        return torch.isin(self.response_ids, ids) & self.mask

    @cached_property
    def gap(self) -> Tensor:
        """Advantage gap between teacher and reference, in nats (paper, Eq. 1)."""
        return self.gap_between("teacher", "reference")

    def gap_between(self, first: str, second: str) -> Tensor:
        """Return the advantage gap between two sources, in nats."""
        return advantage_gap(self[first].logp, self[second].logp)

    def scatter(self, values: Tensor) -> Tensor:
        """Scatter one value a response token, ``(tokens,)``, to ``(batch, response)``, 0 where masked."""
        return scattered(values, self.mask)
