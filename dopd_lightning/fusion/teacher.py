"""One source at every token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dopd_lightning.divergence import Term, Toward
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion.domains import domain_scales
from dopd_lightning.fusion.rule import Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.uniform import UniformDivergence


@dataclass(frozen=True, kw_only=True)
class Teacher(UniformDivergence):
    """Pull every token toward one source: vanilla on-policy distillation (GKD, Agarwal et al., arXiv 2306.13649).

    Attributes:
        source: name of the source.
        scale_domains: weight the tokens of domain d by ``clip(σ / σ_d, 1/4, 4)`` (DN-MOPD, arXiv 2609.35347); the
            source has to be a `ByDomain`. σ is the standard deviation of ``log teacher(y) - log student(y)`` over the
            batch of all processes, and σ_d the same over the tokens of domain d.

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> import torch
        >>> from dopd_lightning.divergence import token_losses
        >>> student, teacher = torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.8, 0.2]]]).log()
        >>> ids, mask = torch.tensor([[0]]), torch.tensor([[True]])
        >>> terms = Teacher()(TokenStatistics.from_logits(student, {"teacher": teacher}, ids, mask)).terms
        >>> token_losses(student, {"teacher": teacher}, ids, terms)  # 0.5 log(0.5 / 0.8) + 0.5 log(0.5 / 0.2)
        tensor([[0.2231]])
    """

    source: str = "teacher"
    scale_domains: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.scale_domains, bool):
            raise ConfigError(f"scale_domains: {self.scale_domains!r} must be true or false")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.source})

    @property
    def pairs(self) -> Sequence[Pair]:
        return [Pair(Toward(self.source), self.divergence)]

    def __call__(self, statistics: TokenStatistics) -> Supervision:
        weight = statistics.mask.float()
        if self.scale_domains:
            weight = weight * domain_scales(statistics, self.source)
        return Supervision([Term(self.source, self.source, self.divergence, weight)])


@dataclass(frozen=True, kw_only=True)
class Reference(Teacher):
    """Pull every token toward the reference.

    If the reference is the student, this is self-distillation with privileged text: OPSD (arXiv 2601.18734), SDFT
    (arXiv 2601.19897).

    Example:
        >>> import torch
        >>> from dopd_lightning.divergence import token_losses
        >>> student, reference = torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.8, 0.2]]]).log()
        >>> ids, mask = torch.tensor([[0]]), torch.tensor([[True]])
        >>> rule = Reference(kind="forward_kl")
        >>> terms = rule(TokenStatistics.from_logits(student, {"reference": reference}, ids, mask)).terms
        >>> token_losses(student, {"reference": reference}, ids, terms)  # 0.8 log(0.8 / 0.5) + 0.2 log(0.2 / 0.5)
        tensor([[0.1927]])
    """

    source: str = "reference"
