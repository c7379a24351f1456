"""DOPD, with the surer of two sources at large gaps."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dopd_lightning.divergence import Kind
from dopd_lightning.fusion.dopd import DOPD
from dopd_lightning.fusion.routing import Regime, Routing
from dopd_lightning.fusion.statistics import TokenStatistics


@dataclass(frozen=True, kw_only=True)
class Surer(DOPD):
    """DOPD, but at large gaps the source of lower entropy teaches, and one divergence measures every regime (ours).

    The gap still says where there is something to learn. The sampled token does not say whom to trust there: the
    student drew it, and the reference shares the student's weights, so that a lower probability under the teacher
    mostly means that the student erred. An entropy does not depend on the sampled token. Of equal entropies the
    teacher's counts as lower.

    Attributes:
        divergence: of all regimes; None for the paper's own in each.

    Raises:
        ConfigError: for a field out of range.

    Example:
        A large gap at the second token. The teacher finds it less likely than the reference does, and is surer.

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
