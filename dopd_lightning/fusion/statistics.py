"""What is known about each response token before it is supervised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dopd_lightning.divergence.dense import divergence
from dopd_lightning.divergence.distribution import at_ids, check_same_shape, entropy, log_probs
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion.routing import advantage_gap


@dataclass(frozen=True, eq=False)
class TokenStatistics:
    """Statistics of each response token under the three policies, detached, computed when first asked for.

    Each is ``(batch, response)``, float32, and 0 where masked; nothing is read at masked places, whose logits and ids
    may be anything. A statistic of a source that was not given raises `ConfigError`.

    Attributes:
        mask: ``(batch, response)``, bool, true at response tokens.
        response_ids: ``(batch, response)``, the sampled tokens.
    """

    mask: Tensor
    response_ids: Tensor
    _student_logits: Tensor
    _teacher_logits: Tensor | None
    _reference_logits: Tensor | None

    @classmethod
    def from_logits(
        cls,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        reference_logits: Tensor | None,
        response_ids: Tensor,
        mask: Tensor,
    ) -> TokenStatistics:
        """Take logits ``(batch, response, vocab)``, each predicting the response token at its place.

        Args:
            student_logits: of the bare student.
            teacher_logits: of the privileged teacher, or None if it does not take part.
            reference_logits: of the privileged reference, or None if it does not take part.
            response_ids: ``(batch, response)``.
            mask: ``(batch, response)``, true at response tokens.

        Raises:
            ValueError: if shapes do not match.
        """
        place = "TokenStatistics"
        check_same_shape(place, student=student_logits, teacher=teacher_logits, reference=reference_logits)
        check_same_shape(place, response_ids=response_ids, mask=mask, logits=student_logits[..., 0])
        student, teacher, reference = (
            None if logits is None else logits.detach() for logits in (student_logits, teacher_logits, reference_logits)
        )
        assert student is not None
        return cls(mask.bool(), response_ids, student, teacher, reference)

    @cached_property
    def student_logp(self) -> Tensor:
        """Log-probability of the response token under the bare student."""
        return self._each(self._logp, self._student_logits)

    @cached_property
    def teacher_logp(self) -> Tensor:
        """Log-probability of the response token under the privileged teacher."""
        return self._each(self._logp, self._teacher("teacher_logp"))

    @cached_property
    def reference_logp(self) -> Tensor:
        """Log-probability of the response token under the privileged reference."""
        return self._each(self._logp, self._reference("reference_logp"))

    @cached_property
    def student_entropy(self) -> Tensor:
        """Entropy of the bare student, in nats."""
        return self._each(_entropy, self._student_logits)

    @cached_property
    def teacher_entropy(self) -> Tensor:
        """Entropy of the privileged teacher, in nats."""
        return self._each(_entropy, self._teacher("teacher_entropy"))

    @cached_property
    def reference_entropy(self) -> Tensor:
        """Entropy of the privileged reference, in nats."""
        return self._each(_entropy, self._reference("reference_entropy"))

    @cached_property
    def teacher_divergence(self) -> Tensor:
        """KL(student ‖ teacher) over the full vocabulary, in nats."""
        return self._each(divergence, self._student_logits, self._teacher("teacher_divergence"))

    @cached_property
    def gap(self) -> Tensor:
        """Advantage gap between the teacher and the reference."""
        return advantage_gap(self.teacher_logp, self.reference_logp)

    def scatter(self, values: Tensor) -> Tensor:
        """Put one value a response token, ``(tokens,)``, in its place: ``(batch, response)``, 0 where masked."""
        empty = torch.zeros(self.mask.shape, dtype=values.dtype, device=values.device)
        return empty.masked_scatter(self.mask, values)

    def _each(self, compute: Callable[..., Tensor], *logits: Tensor) -> Tensor:
        return self.scatter(compute(*(each[self.mask] for each in logits)).float())

    def _logp(self, logits: Tensor) -> Tensor:
        return at_ids(log_probs(logits), self.response_ids[self.mask])

    def _teacher(self, statistic: str) -> Tensor:
        return _given("teacher", self._teacher_logits, statistic)

    def _reference(self, statistic: str) -> Tensor:
        return _given("reference", self._reference_logits, statistic)


def _entropy(logits: Tensor) -> Tensor:
    return entropy(log_probs(logits))


def _given(source: str, logits: Tensor | None, statistic: str) -> Tensor:
    if logits is None:
        raise ConfigError(
            f"{statistic}: there are no {source} logits; a rule that uses it must name {source!r} in `needs`"
        )
    return logits
