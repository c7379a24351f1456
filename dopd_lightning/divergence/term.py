"""Terms of the loss: a target, a divergence, and a weight for each token."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from torch import Tensor

from dopd_lightning.divergence.own_token_target import OwnToken
from dopd_lightning.divergence.settings import Divergence
from dopd_lightning.divergence.source_target import Toward
from dopd_lightning.divergence.target import Target
from dopd_lightning.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Term:
    """Term of the loss.

    Attributes:
        name: label in logs and errors.
        target: a `Target`. A name stands for `Toward` that source, ``data`` for `OwnToken`.
        divergence: distance to the target.
        weight: ``(batch, response)``, at least 0; tokens of weight 0 are skipped.

    Raises:
        ConfigError: for a divergence that does not suit the target.

    Example:
        >>> import torch
        >>> Term("light", "teacher", Divergence(), torch.tensor([[0.6, 0.0]])).target
        Toward(name='teacher')
    """

    name: str
    target: Target
    divergence: Divergence
    weight: Tensor

    def __init__(self, name: str, target: Target | str, divergence: Divergence, weight: Tensor) -> None:
        if isinstance(target, str):
            target = OwnToken() if target == "data" else Toward(target)
        target.check(name, divergence)
        for field, value in (("name", name), ("target", target), ("divergence", divergence), ("weight", weight)):
            object.__setattr__(self, field, value)

    def check_sources(self, given: Container[str]) -> None:
        """Refuse to compute the term without the scores of a source.

        Raises:
            ConfigError: naming the term and the source.
        """
        for name in sorted(self.target.sources):
            if name not in given:
                raise ConfigError(f"term {self.name!r}: needs the {name}'s scores, found none")

    def at(self, mask: Tensor) -> Term:
        """Restrict the term to the tokens ``(n,)`` where ``mask`` ``(batch, response)`` is true."""
        return Term(self.name, self.target.at(mask), self.divergence, self.weight[mask])
