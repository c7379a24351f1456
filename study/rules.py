"""Routing rules tried in place of the paper's, which the paper calls heuristic. They take DOPD's settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dopd_lightning.distributed.processes import gathered_objects
from dopd_lightning.divergence import Pool, Term
from dopd_lightning.fusion import DOPD, Confidence, Regime, Supervision, TokenStatistics
from dopd_lightning.fusion.routing import Thresholds, advantage_gap, routing


@dataclass(frozen=True, kw_only=True)
class SoftRouting(DOPD):
    """DOPD in which every token belongs to all four regimes, by shares that sum to one.

    With A the gap, q_T and q_R the probabilities of the token, and the means of DOPD, each of DOPD's three comparisons
    becomes a share: ``A / (A + mean A)`` for a large gap, ``q / (q + mean q)`` with ``q = q_T + q_R`` for a
    likely token, ``q_T / (q_T + q_R)`` for the teacher ahead. A share is one half where DOPD compares equals.
    """

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        teacher, reference = statistics.teacher_logp, statistics.reference_logp
        regimes, limits = routing(
            teacher,
            reference,
            statistics.mask,
            outlier_fraction=self.outlier_fraction,
            limits=statistics.thresholds,
            averaged=self._averaged(statistics),
        )
        large = _share(advantage_gap(teacher, reference), limits.gap)
        likely = _share(teacher.exp() + reference.exp(), limits.teacher_prob + limits.reference_prob)
        ahead = (teacher - reference).sigmoid()
        shares = {
            Regime.LH: (1 - large) * likely,
            Regime.LL: (1 - large) * (1 - likely),
            Regime.HT: large * ahead,
            Regime.HS: large * (1 - ahead),
        }
        terms = [
            Term(
                regime.name,
                self.source or row.source,
                self._divergence(row),
                row.weight * shares[regime] * statistics.mask,
            )
            for regime, row in self._table.items()
            if regime.name in self.regimes
        ]
        return Supervision(terms, regimes, limits)


@dataclass(frozen=True, kw_only=True)
class MedianRouting(DOPD):
    """DOPD with medians in place of means: half of the tokens have a large gap, however long the tail of gaps is."""

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        if statistics.thresholds is None:
            mask = self._averaged(statistics)
            teacher, reference = statistics.teacher_logp[mask], statistics.reference_logp[mask]
            values = torch.stack([advantage_gap(teacher, reference), teacher.exp(), reference.exp()], dim=1)
            everyones = torch.cat(gathered_objects(values.cpu()))
            medians = everyones.median(dim=0).values.tolist() if len(everyones) else [0.0, 0.0, 0.0]
            statistics = replace(statistics, thresholds=Thresholds(*medians))
        return super().__call__(statistics)


@dataclass(frozen=True, kw_only=True)
class Posterior(Confidence):
    """Linear pool in which the teacher's weight is the probability that the teacher, of the two, wrote the token.

    ``λ = q_T / (q_T + q_R)``, by Bayes' rule with equal priors.
    """

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        weight = (statistics.teacher_logp - statistics.reference_logp).sigmoid()
        return Supervision(
            [
                Term(
                    "posterior",
                    Pool({"teacher": weight, "reference": 1 - weight}),
                    self.divergence,
                    statistics.mask.float(),
                )
            ]
        )


def _share(values: Tensor, middle: float) -> Tensor:
    """Return 0 at 0, one half at ``middle``, and towards 1 above; one half where both are 0."""
    return torch.where(values + middle > 0, values / (values + middle), 0.5)
