"""A teacher for each domain, as one source."""

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
    """Each response is scored by one of several sources: the one that its example's domain names.

    Every process calls every source at each step, also one that has no response for it, which reads a row of padding
    then: sharded weights are gathered together.

    Args:
        members: by name: sources, causal language models or where these are found, or kinds.
        column: of the data, whose value is the domain.
        domains: from the column's values to members; each value is a member's name if not given.
        shown: probability, for each example, that the source sees privileged text.

    Raises:
        ConfigError: for a domain of a member that is not there.

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
        if not isinstance(column, str) or not isinstance(domains, Mapping | None) or domains == {}:
            raise ConfigError(
                f"column: {column!r} must be the name of a column, and domains: {domains!r} members by its values, or "
                "null"
            )
        self.column = column
        of_values = {name: name for name in members} if domains is None else domains
        self.domains = {str(value): name for value, name in of_values.items()}
        for domain, name in self.domains.items():
            if name not in members:
                raise ConfigError(f"domains: {domain!r} maps to {name!r}, and the members are {', '.join(members)}")

    def member_of(self, example: Example) -> str:
        """The name of the member that teaches an example.

        Raises:
            DataError: if the example has no domain, or an unknown one.
        """
        domain = example.get(self.column)
        if domain is None or str(domain) not in self.domains:
            raise DataError(
                f"{self.column}: {domain!r}, of the prompt {str(example['prompt'])[:60]!r}, is no domain of this "
                f"source; they are {', '.join(self.domains)}"
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
