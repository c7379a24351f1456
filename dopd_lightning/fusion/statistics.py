"""Statistics of response tokens under the student and the sources: the input of fusion rules."""

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
        scores: scores of the tokens under the policy.
        student: scores of the tokens under the bare student.
    """

    scores: Scores
    student: Scores

    @cached_property
    def logp(self) -> Tensor:
        """Log-probability of the response token, in nats."""
        return scattered(self.scores.logp.float(), self.scores.mask)

    @cached_property
    def entropy(self) -> Tensor:
        """Entropy of the policy's distribution, in nats."""
        return scattered(self.scores.entropy.float(), self.scores.mask)

    @cached_property
    def owner(self) -> Tensor:
        """Index of the source's member that scored each token (the domain), int64; 0 if the source has no members."""
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

    ``statistics["maths"].logp`` is the log-probability under the source ``maths``, ``statistics["student"].logp`` that
    under the bare student; ``statistics.maths_logp`` is a short form. Likewise ``entropy`` and ``divergence``. All are
    ``(batch, response)``, float32, in nats, and 0 where masked. Logits and ids are not read where masked.

    Attributes:
        mask: ``(batch, response)``, bool, true at response tokens.
        response_ids: ``(batch, response)``, the sampled tokens.
        student: scores under the bare student.
        sources: scores under each source in use, by name.
        thresholds: thresholds for a rule that routes; None to compute them from these tokens.
        end_ids: tokens that end a response; None if unknown.
        rewards: rewards by source: ``(batch,)``, one per response, or ``(batch, response)``; NaN where unknown.
        group: ``(batch,)``, int64, index of the prompt, shared by all its responses; None if unknown.

    Example:
        >>> student, maths = torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.8, 0.2]]]).log()
        >>> ids, mask = torch.tensor([[0]]), torch.tensor([[True]])
        >>> statistics = TokenStatistics.from_logits(student, {"maths": maths}, ids, mask)
        >>> statistics["maths"].logp, statistics["student"].entropy  # log 0.8, log 2
        (tensor([[-0.2231]]), tensor([[0.6931]]))
        >>> statistics["maths"].divergence  # KL(student ‖ maths) = 0.5 log(0.5 / 0.8) + 0.5 log(0.5 / 0.2)
        tensor([[0.2231]])
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
        """Build statistics from logits ``(batch, response, vocab)``: ``logits[b, n]`` predict ``response_ids[b, n]``.

        Args:
            student_logits: logits of the bare student.
            source_logits: logits of each source in use, by name.
            response_ids: ``(batch, response)``.
            mask: ``(batch, response)``, true at response tokens.
            end_ids: tokens that end a response; None if unknown.
            rewards: rewards by source: ``(batch,)`` or ``(batch, response)``; NaN where unknown.
            group: ``(batch,)``, int64, index of the prompt, shared by all its responses.

        Raises:
            ValueError: if shapes do not match.
            TypeError: if ``source_logits`` is not a mapping.
        """
        if not isinstance(source_logits, Mapping):
            raise TypeError(
                f"TokenStatistics.from_logits: source_logits is {type(source_logits).__name__}; give logits by name, "
                "such as {'teacher': logits}"
            )
        check_same_shape("TokenStatistics", student=student_logits, **source_logits)
        student = LogitScores(student_logits, response_ids, mask)
        sources = {name: LogitScores(logits, response_ids, mask) for name, logits in source_logits.items()}
        return cls(mask.bool(), response_ids, student, sources, end_ids=end_ids, rewards=rewards or {}, group=group)

    def __getitem__(self, name: str) -> PolicyStatistics:
        """Return the statistics under the student or a source.

        Raises:
            ConfigError: if there are no scores of the source.
        """
        if name not in self._by_policy:
            raise ConfigError(
                f"statistics: no scores of the source {name!r}, only of {', '.join(self._by_policy)}; "
                f"a rule that uses it must name {name!r} in `needs`"
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
        """``(batch, response)``, bool, true at response tokens that end a response."""
        if self.end_ids is None:
            raise ConfigError("ends: end_ids is None; give TokenStatistics the ids of the tokens that end a response")
        ids = torch.tensor(self.end_ids, dtype=self.response_ids.dtype, device=self.response_ids.device)
        return torch.isin(self.response_ids, ids) & self.mask

    @cached_property
    def gap(self) -> Tensor:
        """Advantage gap between teacher and reference, in nats (DOPD, Eq. 1)."""
        return self.gap_between("teacher", "reference")

    def gap_between(self, first: str, second: str) -> Tensor:
        """Return the advantage gap between two sources, in nats."""
        return advantage_gap(self[first].logp, self[second].logp)

    def scatter(self, values: Tensor) -> Tensor:
        """Scatter one value per response token, ``(tokens,)``, to ``(batch, response)``, 0 where masked."""
        return scattered(values, self.mask)
