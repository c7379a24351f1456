"""Mixture that trusts the surer source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dopd_lightning.divergence.term import Pool, Term
from dopd_lightning.fusion.rule import Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence


@dataclass(frozen=True, kw_only=True)
class Confidence(UniformDivergence):
    """As `Mixture`, with the teacher's weight per token from the two entropies (ours).

    ``λ = exp(-H_T) / (exp(-H_T) + exp(-H_R))``: each source counts by the inverse of its perplexity.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"teacher", "reference"})

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        teacher_weight = (statistics.reference_entropy - statistics.teacher_entropy).sigmoid()
        return Supervision([Term("confidence", Pool(teacher_weight), self.divergence, statistics.mask.float())])
