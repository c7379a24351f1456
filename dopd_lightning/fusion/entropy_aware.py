"""Reverse KL, and forward KL where the teacher is unsure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dopd_lightning.divergence.term import Divergence, Kind, Support, Tail, Term, TopKOf
from dopd_lightning.errors import check_range
from dopd_lightning.fusion.rule import Supervision
from dopd_lightning.fusion.statistics import TokenStatistics


@dataclass(frozen=True, kw_only=True)
class EntropyAware:
    """Reverse KL to the teacher at every token, and forward KL on top where its entropy is high.

    Reverse KL alone seeks one mode, and so loses the alternatives where the teacher has several (EOPD, arXiv
    2603.07079).

    Attributes:
        threshold: the teacher's entropy, in nats, above which forward KL is added (the default is ours).
        forward_weight: weight of the forward KL, at least 0.
        support, top_k, top_k_of, tail: of both divergences, as in `Divergence`.

    Raises:
        ConfigError: for a field out of range.
    """

    threshold: float = 0.8
    forward_weight: float = 1.0
    support: Support = Divergence.support
    top_k: int = Divergence.top_k
    top_k_of: TopKOf = Divergence.top_k_of
    tail: Tail = Divergence.tail

    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, at_least=0)
        check_range("forward_weight", self.forward_weight, at_least=0)
        self._divergence("reverse_kl")

    def _divergence(self, kind: Kind) -> Divergence:
        return Divergence(kind=kind, support=self.support, top_k=self.top_k, top_k_of=self.top_k_of, tail=self.tail)

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        unsure = statistics.mask & (statistics.teacher_entropy > self.threshold)
        return Supervision(
            [
                Term("reverse", "teacher", self._divergence("reverse_kl"), statistics.mask.float()),
                Term("forward", "teacher", self._divergence("forward_kl"), self.forward_weight * unsure.float()),
            ]
        )
