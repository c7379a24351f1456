"""What a token is supervised by: which target, which divergence, over which support, at what weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from torch import Tensor

from dopd_lightning.errors import ConfigError, check_choice, check_range

Kind: TypeAlias = Literal["reverse_kl", "forward_kl", "js"]
Support: TypeAlias = Literal["full", "top_k", "sampled"]
TopKOf: TypeAlias = Literal["target", "student"]
Tail: TypeAlias = Literal["bucket", "renormalize"]
Source: TypeAlias = Literal["teacher", "reference"]


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


@dataclass(frozen=True, eq=False)
class Pool:
    """A target made of both sources.

    Linear: ``λ teacher + (1 - λ) reference``. Geometric (log-linear): proportional to ``teacher^λ reference^(1 - λ)``.

    Attributes:
        teacher_weight: λ, one for all tokens or ``(batch, response)``. Linear: from 0 to 1. Geometric: at least 0;
            above 1 it extrapolates beyond the teacher, away from the reference (ExOPD, arXiv 2602.12125).
        geometric: whether the pool is log-linear.

    Raises:
        ConfigError: for a number out of range (tensors are not looked into).
    """

    teacher_weight: float | Tensor
    geometric: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.teacher_weight, Tensor):
            at_most = None if self.geometric else 1
            check_range("teacher_weight", self.teacher_weight, at_least=0, at_most=at_most)


Target: TypeAlias = Literal["teacher", "reference", "data"] | Pool


@dataclass(frozen=True, eq=False)
class Term:
    """One summand of the loss.

    Attributes:
        name: a label for logs and errors.
        target: what the student is drawn to. ``data`` is the one-hot distribution on the response token, whose forward
            KL is ``-log student(y)``: supervised fine-tuning.
        divergence: how the distance is measured.
        weight: ``(batch, response)``, at least 0; tokens of weight 0 do not take part.

    Raises:
        ConfigError: for an unknown target, or for ``data`` with anything but forward KL over the full support.
    """

    name: str
    target: Target
    divergence: Divergence
    weight: Tensor

    def __post_init__(self) -> None:
        if isinstance(self.target, Pool):
            return
        check_choice("target", self.target, ("teacher", "reference", "data"))
        if self.target == "data" and (self.divergence.kind, self.divergence.support) != ("forward_kl", "full"):
            raise ConfigError(
                f"term {self.name!r}: target 'data' has {self.divergence.kind} over {self.divergence.support}; "
                "the only finite divergence to a single token is forward_kl over full"
            )
