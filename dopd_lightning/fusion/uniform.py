"""Fields of rules that use one divergence for all tokens."""

from __future__ import annotations

from dataclasses import dataclass

from dopd_lightning.divergence import Divergence, Kind, Support, Tail, TopKOf


@dataclass(frozen=True, kw_only=True)
class UniformDivergence:
    """Fields of `Divergence`, for a rule that uses one divergence for all tokens.

    Raises:
        ConfigError: for an unknown choice or a number out of range.
    """

    kind: Kind = Divergence.kind
    beta: float = Divergence.beta
    support: Support = Divergence.support
    top_k: int = Divergence.top_k
    top_k_of: TopKOf = Divergence.top_k_of
    tail: Tail = Divergence.tail

    def __post_init__(self) -> None:
        _ = self.divergence  # constructing it checks the fields

    @property
    def divergence(self) -> Divergence:
        """Divergence of all tokens."""
        return Divergence(
            kind=self.kind,
            beta=self.beta,
            support=self.support,
            top_k=self.top_k,
            top_k_of=self.top_k_of,
            tail=self.tail,
        )
