"""Reverse KL, plus forward KL where the source's entropy is high."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dopd_lightning.divergence import Divergence, Kind, Support, Tail, Term, TopKOf, Toward
from dopd_lightning.errors import check_range
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics


@dataclass(frozen=True, kw_only=True)
class EntropyAware:
    """Minimise the reverse KL to one source, plus the forward KL where the source's entropy is high.

    Reverse KL alone concentrates on one mode, so the student loses alternatives where the source has several (EOPD,
    arXiv 2603.07079).

    Attributes:
        source: name of the source.
        threshold: entropy of the source, in nats, above which forward KL is added (the default is ours).
        forward_weight: weight of the forward KL, at least 0.
        support, top_k, top_k_of, tail: of both divergences, as in `Divergence`.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[0.4, 0.3, 0.3], [0.98, 0.01, 0.01]]]).log()  # entropies 1.09 and 0.11 nats
        >>> ids, mask = torch.tensor([[0, 0]]), torch.ones(1, 2)
        >>> statistics = TokenStatistics.from_logits(torch.zeros(1, 2, 3), {"teacher": teacher}, ids, mask)
        >>> {term.name: term.weight.tolist() for term in EntropyAware(threshold=0.8)(statistics).terms}
        {'reverse': [[1.0, 1.0]], 'forward': [[1.0, 0.0]]}
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
