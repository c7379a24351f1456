"""One source with a teacher for each domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from dopd_lightning.data import Example
from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.scores import Scores, routed
from dopd_lightning.sources.composite import Several
from dopd_lightning.sources.named import AnySource
from dopd_lightning.sources.source import ScoringRequest


class ByDomain(Several):
    """Source that scores each response with one of its members, chosen by the example's domain.

    Every process calls every member at each step, since all processes gather sharded weights together. A member without
    a response reads a row of padding.

    Args:
        members: members by name: sources, causal language models, their paths or Hub names, or kinds.
        column: column of the data that holds the domain.
        domains: name of the member for each value of the column; if not given, the value is the name.
        shown: probability, for each example, that the source sees privileged text.

    Raises:
        ConfigError: if a domain maps to an unknown member.

    Example:
        >>> source = ByDomain({"start": "snapshot", "slow": "ema"}, column="subject", domains={"algebra": "slow"})
        >>> source.member_of({"prompt": "x + 1 = 2", "subject": "algebra"})
        'slow'
    """

    def __init__(
        self,
        members: Mapping[str, AnySource],
        column: str = "domain",
        domains: Mapping[Any, str] | None = None,
        shown: float | None = None,
    ) -> None:
        super().__init__(members, shown)
        if not isinstance(column, str):
            raise ConfigError(f"column: {column!r} must be the name of a column, such as domain")
        if not isinstance(domains, Mapping | None) or domains == {}:
            raise ConfigError(f"domains: {domains!r} must be members by value of the column, or null")
        self.column = column
        of_values = {name: name for name in members} if domains is None else domains
        self.domains = {str(value): name for value, name in of_values.items()}
        for domain, name in self.domains.items():
            if name not in members:
                raise ConfigError(f"domains: {domain!r} maps to {name!r}, but the members are {', '.join(members)}")

    def member_of(self, example: Example) -> str:
        """Return the name of the member that scores the responses to an example.

        Raises:
            DataError: if the example's domain is missing or unknown.
        """
        domain = example.get(self.column)
        if domain is None or str(domain) not in self.domains:
            raise DataError(
                f"{self.column}: {domain!r}, of the prompt {str(example['prompt'])[:60]!r}, is not a "
                f"domain of this source; choose from {', '.join(self.domains)}"
            )
        return self.domains[str(domain)]

    def check(self, examples: Sequence[Example]) -> None:
        for example in examples:
            self.member_of(example)

    def scores(self, student: PreTrainedModel, request: ScoringRequest) -> Scores:
        names = [self.member_of(example) for example in request.rollouts.examples]
        parts = []
        for name, member in self.items():
            rows = self._rows(names, name, request)
            parts.append((member.scores(student, request.of_rows(rows)), rows))
        return routed(parts, request.rollouts.responses)

    def _rows(self, names: list[str], name: str, request: ScoringRequest) -> Tensor:
        own = [row for row, other in enumerate(names) if other == name]
        return torch.tensor(own, dtype=torch.long, device=request.rollouts.responses.ids.device)
