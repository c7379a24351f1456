"""One source only."""

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
    """Every token is drawn to one source: vanilla on-policy distillation (GKD, Agarwal et al., arXiv 2306.13649).

    Attributes:
        source: its name.
        scale_domains: of a source that is made of a teacher for each domain, weight a domain's tokens by
            ``clip(σ / σ_d, 1/4, 4)``: σ is the standard deviation over the batch, of all processes, of
            ``log teacher(y) - log student(y)``, and σ_d that of the domain (DN-MOPD, arXiv 2609.35347).

    Raises:
        ConfigError: for a field out of range.

    Example:
        >>> Teacher(source="maths", kind="js").divergence.kind
        'js'
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
    """`Teacher`, with the reference as its source.

    With the student as the reference this is self-distillation under privileged context: OPSD (arXiv 2601.18734), SDFT
    (arXiv 2601.19897).

    Example:
        >>> sorted(Reference().needs)
        ['reference']
    """

    source: str = "reference"
