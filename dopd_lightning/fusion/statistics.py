"""What is known about each response token before it is supervised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dopd_lightning.divergence import Divergence, Term, loss_of
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion.routing import Thresholds, advantage_gap
from dopd_lightning.scores import AnyScores, LogitScores
from dopd_lightning.scores.distribution import check_same_shape


@dataclass(frozen=True, eq=False)
class TokenStatistics:
    """Statistics of each response token under the three policies, detached, computed when first asked for.

    Each is ``(batch, response)``, float32, and 0 where masked; nothing is read at masked places, whose logits and ids
    may be anything. A statistic of a source that was not given raises `ConfigError`.

    Attributes:
        mask: ``(batch, response)``, bool, true at response tokens.
        response_ids: ``(batch, response)``, the sampled tokens.
        student: scores of the bare student.
        teacher: scores of the privileged teacher, or None if it does not take part.
        reference: scores of the privileged reference, or None if it does not take part.
        thresholds: what a rule that routes is to compare tokens with, or None for means over these.
        end_ids: tokens that end a response, or None where nobody said which do.
    """

    mask: Tensor
    response_ids: Tensor
    student: AnyScores
    teacher: AnyScores | None
    reference: AnyScores | None
    thresholds: Thresholds | None = None
    end_ids: Sequence[int] | None = None

    @classmethod
    def from_logits(
        cls,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        reference_logits: Tensor | None,
        response_ids: Tensor,
        mask: Tensor,
        end_ids: Sequence[int] | None = None,
    ) -> TokenStatistics:
        """Take logits ``(batch, response, vocab)``, each predicting the response token at its place.

        Args:
            student_logits: of the bare student.
            teacher_logits: of the privileged teacher, or None if it does not take part.
            reference_logits: of the privileged reference, or None if it does not take part.
            response_ids: ``(batch, response)``.
            mask: ``(batch, response)``, true at response tokens.
            end_ids: tokens that end a response, or None where nobody said which do.

        Raises:
            ValueError: if shapes do not match.
        """
        check_same_shape("TokenStatistics", student=student_logits, teacher=teacher_logits, reference=reference_logits)
        teacher, reference = (
            None if logits is None else LogitScores(logits, response_ids, mask)
            for logits in (teacher_logits, reference_logits)
        )
        student = LogitScores(student_logits, response_ids, mask)
        return cls(mask.bool(), response_ids, student, teacher, reference, end_ids=end_ids)

    @cached_property
    def student_logp(self) -> Tensor:
        """Log-probability of the response token under the bare student."""
        return self.scatter(self.student.logp.float())

    @cached_property
    def teacher_logp(self) -> Tensor:
        """Log-probability of the response token under the privileged teacher."""
        return self.scatter(_given("teacher", self.teacher, "teacher_logp").logp.float())

    @cached_property
    def reference_logp(self) -> Tensor:
        """Log-probability of the response token under the privileged reference."""
        return self.scatter(_given("reference", self.reference, "reference_logp").logp.float())

    @cached_property
    def student_entropy(self) -> Tensor:
        """Entropy of the bare student, in nats."""
        return self.scatter(self.student.entropy.float())

    @cached_property
    def teacher_entropy(self) -> Tensor:
        """Entropy of the privileged teacher, in nats."""
        return self.scatter(_given("teacher", self.teacher, "teacher_entropy").entropy.float())

    @cached_property
    def reference_entropy(self) -> Tensor:
        """Entropy of the privileged reference, in nats."""
        return self.scatter(_given("reference", self.reference, "reference_entropy").entropy.float())

    @cached_property
    def teacher_divergence(self) -> Tensor:
        """KL(student ‖ teacher) over the full vocabulary, in nats, at the loss temperature."""
        teacher = _given("teacher", self.teacher, "teacher_divergence")
        term = Term("teacher_divergence", "teacher", Divergence(), self.mask.float())
        with torch.no_grad():
            return loss_of(self.student, {"teacher": teacher}, [term]).per_token.float()

    @cached_property
    def ends(self) -> Tensor:
        """True at tokens that end a response, bool."""
        if self.end_ids is None:
            raise ConfigError("ends: nobody said which tokens end a response; give the statistics their `end_ids`")
        ids = torch.tensor(self.end_ids, dtype=self.response_ids.dtype, device=self.response_ids.device)
        return torch.isin(self.response_ids, ids) & self.mask

    @cached_property
    def gap(self) -> Tensor:
        """Advantage gap between the teacher and the reference."""
        return advantage_gap(self.teacher_logp, self.reference_logp)

    def scatter(self, values: Tensor) -> Tensor:
        """Put one value a response token, ``(tokens,)``, in its place: ``(batch, response)``, 0 where masked."""
        empty = torch.zeros(self.mask.shape, dtype=values.dtype, device=values.device)
        return empty.masked_scatter(self.mask, values)


def _given(source: str, scores: AnyScores | None, statistic: str) -> AnyScores:
    if scores is None:
        raise ConfigError(
            f"{statistic}: there are no scores of the {source}; a rule that uses it must name {source!r} in `needs`"
        )
    return scores
