"""Reverse KL, and forward KL where the source is unsure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dopd_lightning.divergence import Divergence, Kind, Support, Tail, Term, TopKOf, Toward
from dopd_lightning.errors import check_range
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics


@dataclass(frozen=True, kw_only=True)
class EntropyAware:
    """Reverse KL to one source at every token, and forward KL on top where its entropy is high.

    Reverse KL alone seeks one mode, and so loses the alternatives where the source has several (EOPD, arXiv
    2603.07079).

    Attributes:
        source: its name.
        threshold: its entropy, in nats, above which forward KL is added (the default is ours).
        forward_weight: weight of the forward KL, at least 0.
        support, top_k, top_k_of, tail: of both divergences, as in `Divergence`.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> [pair.divergence.kind for pair in EntropyAware().pairs]
        ['reverse_kl', 'forward_kl']
    """

    source: str = "teacher"
    threshold: float = 0.8
    forward_weight: float = 1.0
    support: Support = Divergence.support
    top_k: int = Divergence.top_k
    top_k_of: TopKOf = Divergence.top_k_of
    tail: Tail = Divergence.tail

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, at_least=0)
        check_range("forward_weight", self.forward_weight, at_least=0)
        self._divergence("reverse_kl")

    def _divergence(self, kind: Kind) -> Divergence:
        return Divergence(kind=kind, support=self.support, top_k=self.top_k, top_k_of=self.top_k_of, tail=self.tail)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.source})

    @property
    def pairs(self) -> Sequence[Pair]:
        return [Pair(Toward(self.source), self._divergence(kind)) for kind in ("reverse_kl", "forward_kl")]

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        unsure = statistics.mask & (statistics[self.source].entropy > self.threshold)
        return Supervision(
            [
                Term("reverse", self.source, self._divergence("reverse_kl"), statistics.mask.float()),
                Term("forward", self.source, self._divergence("forward_kl"), self.forward_weight * unsure.float()),
            ]
        )
