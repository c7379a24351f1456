"""Self-adaptation without a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from dopd_lightning.divergence import TO_OWN_TOKEN, Advantage, Term
from dopd_lightning.errors import check_range
from dopd_lightning.fusion.ranking import largest
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics


@dataclass(frozen=True, kw_only=True)
class OPSA:
    """Lower the probability of the least likely sampled tokens, without a teacher (OPSA, arXiv 2608.31046).

    It is a control for other rules. The tokens with the lowest log-probability under the student have the advantage
    ``-1/2 - (H - min H) / (2 (max H - min H))``, with H the student's entropy, and min and max over the batch's tokens
    in this process. All other tokens have no loss.

    Attributes:
        share: share of tokens to lower, above 0 and at most 1.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> student = torch.tensor([[[0.5, 0.5], [0.1, 0.9]]]).log()
        >>> statistics = TokenStatistics.from_logits(student, {}, torch.tensor([[0, 0]]), torch.ones(1, 2))
        >>> OPSA(share=0.5)(statistics).advantage.tolist()  # the second token is unlikely
        [[0.0, -0.5]]
    """

    share: float = 0.2

    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("share", self.share, above=0, at_most=1)

    @property
    def pairs(self) -> Sequence[Pair]:
        return [Pair(Advantage(), TO_OWN_TOKEN)]

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        student, mask = statistics["student"], statistics.mask
        entropy = student.entropy[mask]
        low = largest(-student.logp[mask], self.share)
        if len(entropy):
            spread = entropy.max() - entropy.min()
            scaled = (entropy - entropy.min()) / spread.where(spread > 0, 1.0)
            values = torch.where(low, -0.5 - scaled / 2, 0.0)
        else:
            values = entropy
        advantage = statistics.scatter(values)
        return Supervision(
            [Term("opsa", Advantage(advantage), TO_OWN_TOKEN, (advantage != 0).float())], advantage=advantage
        )
