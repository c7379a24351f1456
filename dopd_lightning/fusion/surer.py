"""DOPD, with the source of lower entropy as target at large gaps."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dopd_lightning.divergence import Kind
from dopd_lightning.fusion.dopd import DOPD
from dopd_lightning.fusion.routing import Regime, Routing
from dopd_lightning.fusion.statistics import TokenStatistics


@dataclass(frozen=True, kw_only=True)
class Surer(DOPD):
    """DOPD, but at large gaps the source of lower entropy is the target, and all regimes have one divergence (ours).

    The gap still shows where there is something to learn. But the sampled token is a poor guide to the better source:
    the student drew it, and the reference shares the student's weights, so a lower probability under the teacher mostly
    means that the student made a mistake. The entropy does not depend on the sampled token. If the entropies are equal,
    the teacher is the target.

    Attributes:
        divergence: one divergence for all regimes; None for the paper's divergence of each regime.

    Raises:
        ConfigError: for a field out of range.

    Example:
        At the second token the gap is large. The teacher gives the token less probability, and has less entropy.

        >>> teacher = torch.tensor([[[0.5, 0.5], [0.01, 0.99]]]).log()
        >>> reference = torch.tensor([[[0.5, 0.5], [0.6, 0.4]]]).log()
        >>> ids, mask = torch.tensor([[0, 0]]), torch.ones(1, 2)
        >>> logits = {"teacher": teacher, "reference": reference}
        >>> statistics = TokenStatistics.from_logits(reference, logits, ids, mask)
        >>> [[Regime(each).name for each in rule(statistics).regimes[0].tolist()] for rule in (DOPD(), Surer())]
        [['LH', 'HS'], ['LH', 'HT']]
    """

    divergence: Kind | None = "reverse_kl"

    def _route(self, statistics: TokenStatistics) -> Routing:
        regimes, limits = super()._route(statistics)
        large = (regimes == Regime.HT) | (regimes == Regime.HS)
        teacher_is_surer = statistics[self.teacher].entropy <= statistics[self.reference].entropy
        chosen = torch.where(teacher_is_surer, int(Regime.HT), int(Regime.HS))
        return Routing(torch.where(large, chosen, regimes), limits)
