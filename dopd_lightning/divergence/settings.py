"""Divergences between student and target, as settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from dopd_lightning.errors import check_choice, check_range

Kind: TypeAlias = Literal["reverse_kl", "forward_kl", "js"]
"""Kinds of divergences. A new one needs its formula in `formulas.compare` and `formulas.sampled`, and its gradient in
`gradients.full_`."""
Support: TypeAlias = Literal["full", "top_k", "sampled"]
TopKOf: TypeAlias = Literal["target", "student"]
Tail: TypeAlias = Literal["bucket", "renormalize"]


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """A divergence between student and target, and the outcomes it is taken over.

    Attributes:
        kind: ``reverse_kl`` is KL(student ‖ target), ``forward_kl`` is KL(target ‖ student), ``js`` is the generalised
            Jensen-Shannon divergence.
        beta: the target's share in the Jensen-Shannon mixture, between 0 and 1, both excluded; 0.5 is the symmetric
            one.
        support: ``full`` vocabulary; ``top_k`` tokens; or only the token that was ``sampled`` from the student.
        top_k: number of tokens of the ``top_k`` support.
        top_k_of: whose likeliest tokens these are.
        tail: what becomes of the mass outside ``top_k``: a ``bucket`` keeps it as one more outcome, ``renormalize``
            drops it and scales both distributions to one over the support.

    Raises:
        ConfigError: for an unknown choice or a number out of range.

    Example:
        >>> Divergence(kind="js", beta=0.25, support="top_k", top_k=64)
        Divergence(kind='js', beta=0.25, support='top_k', top_k=64, top_k_of='target', tail='bucket')
    """

    kind: Kind = "reverse_kl"
    beta: float = 0.5
    support: Support = "full"
    top_k: int = 128
    top_k_of: TopKOf = "target"
    tail: Tail = "bucket"

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, get_args(Kind))
        check_choice("support", self.support, get_args(Support))
        check_choice("top_k_of", self.top_k_of, get_args(TopKOf))
        check_choice("tail", self.tail, get_args(Tail))
        check_range("top_k", self.top_k, at_least=1)
        check_range("beta", self.beta, above=0, below=1)  # at either end JS is 0 for every student
