"""Dual on-policy distillation (DOPD)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

from torch import Tensor

from dopd_lightning.divergence import Divergence, Kind, Support, Tail, Term, TopKOf, Toward
from dopd_lightning.errors import ConfigError, check_choice, check_range
from dopd_lightning.fusion.routing import (
    NORMALIZE,
    OUTLIER_FRACTION,
    Normalize,
    Regime,
    Routing,
    check_routing,
    routing,
)
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics


class _Row(NamedTuple):
    source: str
    kind: Kind
    support: Support
    weight: float


@dataclass(frozen=True, kw_only=True)
class DOPD:
    """Route each token to a regime with its own target, divergence, support and weight.

    ======  =========  ==========  ================  =============
    regime  target     divergence  support           weight
    ======  =========  ==========  ================  =============
    LH      teacher    reverse KL  top-K             ``beta_light``
    LL      reference  reverse KL  top-K             ``beta_weak``
    HT      teacher    JS          full vocabulary   1
    HS      reference  reverse KL  top-K             ``beta_light``
    ======  =========  ==========  ================  =============

    From DOPD (arXiv 2606.30626, Sec. 3.2 and 4.1). ``regimes``, ``divergence``, ``support`` and ``source`` are its
    ablations (Tables 6 to 8); "ours" marks choices where the paper is silent.

    Attributes:
        beta_light: weight of the regimes LH and HS, at least 0.
        beta_weak: weight of the regime LL, at least 0.
        beta_js: the target's share in the Jensen-Shannon mixture, above 0 and below 1.
        outlier_fraction: share of tokens left out of the routing's means, see `thresholds`.
        normalize: scaling of the two probabilities in the routing, see `thresholds`.
        ends_in_means: count tokens that end a response in the routing's means (ours). They are routed in any case.
        top_k: number of tokens in a top-K support.
        top_k_of: policy whose likeliest tokens are the support, ``target`` or ``student`` (ours).
        tail: treatment of the mass outside the support (ours).
        regimes: names of the regimes that count; tokens of the others get no loss.
        divergence: one divergence for all regimes.
        support: one support for all regimes.
        source: one target for all regimes, by name.
        teacher: name of the source that serves as teacher.
        reference: name of the source that serves as reference.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.8, 0.2, 0.8, 0.1], [0.6, 0.1, 0.1, 0.8]])  # of 4 tokens under teacher, reference
        >>> teacher, reference = torch.stack([probs, 1 - probs], dim=-1).log().unsqueeze(1)
        >>> sources, ids = {"teacher": teacher, "reference": reference}, torch.zeros(1, 4).long()
        >>> statistics = TokenStatistics.from_logits(teacher, sources, ids, torch.ones(1, 4))
        >>> for term in DOPD()(statistics).terms:  # the mean gap is 1.285 nats, the mean of q_T + q_R 0.875
        ...     print(term.name, term.target.name, term.divergence.kind, term.weight)
        LH teacher reverse_kl tensor([[0.6000, 0.0000, 0.0000, 0.0000]])
        LL reference reverse_kl tensor([[0.0000, 0.3000, 0.0000, 0.0000]])
        HT teacher js tensor([[0., 0., 1., 0.]])
        HS reference reverse_kl tensor([[0.0000, 0.0000, 0.0000, 0.6000]])
    """

    beta_light: float = 0.6
    beta_weak: float = 0.3
    beta_js: float = Divergence.beta
    outlier_fraction: float = OUTLIER_FRACTION
    normalize: Normalize = NORMALIZE
    ends_in_means: bool = True
    top_k: int = Divergence.top_k
    top_k_of: TopKOf = Divergence.top_k_of
    tail: Tail = Divergence.tail
    regimes: Sequence[str] = tuple(Regime.__members__)
    divergence: Kind | None = None
    support: Support | None = None
    source: str | None = None
    teacher: str = "teacher"
    reference: str = "reference"

    def __post_init__(self) -> None:
        check_range("beta_light", self.beta_light, at_least=0)
        check_range("beta_weak", self.beta_weak, at_least=0)
        check_range("beta_js", self.beta_js, above=0, below=1)
        check_routing(self.outlier_fraction, self.normalize)
        if not isinstance(self.ends_in_means, bool):
            raise ConfigError(f"ends_in_means: {self.ends_in_means!r} must be true or false")
        if self.teacher == self.reference:
            raise ConfigError(
                f"reference: {self.reference!r} is also the teacher, so their gap is 0 at every token; name two sources"
            )
        if isinstance(self.regimes, str):
            raise ConfigError(f"regimes: {self.regimes!r} must be a list, such as [{self.regimes}]")
        for name in self.regimes:
            check_choice("regimes", name, tuple(Regime.__members__))
        if not self.regimes:
            raise ConfigError(f"regimes: the list is empty; choose from {', '.join(Regime.__members__)}")
        if not any(row.weight for regime, row in self._table.items() if regime.name in self.regimes):
            raise ConfigError(
                f"beta_light: {self.beta_light}, with beta_weak={self.beta_weak}, gives every token of the regimes "
                f"{', '.join(self.regimes)} the weight 0; raise one of the two"
            )
        if self.divergence is not None:
            check_choice("divergence", self.divergence, get_args(Kind))
        if self.support is not None:
            check_choice("support", self.support, get_args(Support))
        if self.source is not None:
            check_choice("source", self.source, (self.teacher, self.reference))
        for row in self._table.values():
            self._divergence(row)

    @property
    def _table(self) -> dict[Regime, _Row]:
        return {
            Regime.LH: _Row(self.teacher, "reverse_kl", "top_k", self.beta_light),
            Regime.LL: _Row(self.reference, "reverse_kl", "top_k", self.beta_weak),
            Regime.HT: _Row(self.teacher, "js", "full", 1.0),
            Regime.HS: _Row(self.reference, "reverse_kl", "top_k", self.beta_light),
        }

    def _divergence(self, row: _Row) -> Divergence:
        return Divergence(
            kind=self.divergence or row.kind,
            beta=self.beta_js,
            support=self.support or row.support,
            top_k=self.top_k,
            top_k_of=self.top_k_of,
            tail=self.tail,
        )

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.teacher, self.reference})

    @property
    def gap_between(self) -> tuple[str, str]:
        """Names of the two sources whose gap decides the regime."""
        return self.teacher, self.reference

    @property
    def pairs(self) -> Sequence[Pair]:
        rows = [row for regime, row in self._table.items() if regime.name in self.regimes]
        return [Pair(Toward(self.source or row.source), self._divergence(row)) for row in rows]

    def _averaged(self, statistics: TokenStatistics) -> Tensor:
        """Return the mask of the tokens that the routing's means are taken over."""
        return statistics.mask if self.ends_in_means else statistics.mask & ~statistics.ends

    def _route(self, statistics: TokenStatistics) -> Routing:
        return routing(
            statistics[self.teacher].logp,
            statistics[self.reference].logp,
            statistics.mask,
            outlier_fraction=self.outlier_fraction,
            normalize=self.normalize,
            limits=statistics.thresholds,
            averaged=self._averaged(statistics),
        )

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        regimes, limits = self._route(statistics)
        terms = [
            Term(
                name=regime.name,
                target=self.source or row.source,
                divergence=self._divergence(row),
                weight=row.weight * (regimes == regime).float(),
            )
            for regime, row in self._table.items()
            if regime.name in self.regimes
        ]
        return Supervision(terms, regimes, limits)
