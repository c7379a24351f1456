"""A source made of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from dopd_lightning.errors import ConfigError
from dopd_lightning.sources.policy import Policy
from dopd_lightning.sources.source import Source


class Several(Source):
    """Holds other sources by name.

    Args:
        members: by name: sources, or causal language models.
        shown: probability, for each example, that they see privileged text.

    Raises:
        ConfigError: if there is no member, or one has a name that no module can have.
    """

    def __init__(self, members: Mapping[str, Source | PreTrainedModel], shown: float | None = None) -> None:
        super().__init__(shown)
        if not members:
            raise ConfigError("members: none is given; name at least one policy")
        self.members = nn.ModuleDict()
        for name, member in members.items():
            if not name.isidentifier() or hasattr(self.members, name):
                raise ConfigError(
                    f"members: {name!r} cannot be the name of one; choose a word of letters, digits and _"
                )
            self.members[name] = member if isinstance(member, Source) else Policy(member)

    def items(self) -> Iterator[tuple[str, Source]]:
        """The members by name."""
        for name, member in self.members.items():
            yield name, cast(Source, member)

    def policies(self, student: PreTrainedModel) -> Mapping[str, PreTrainedModel]:
        return {
            f"{name}.{inner}".rstrip("."): policy
            for name, member in self.items()
            for inner, policy in member.policies(student).items()
        }

    def attach(self, student: PreTrainedModel) -> None:
        for _, member in self.items():
            member.attach(student)

    def update(self, student: PreTrainedModel) -> None:
        for _, member in self.items():
            member.update(student)

    def saves(self, name: str) -> bool:
        _, member, rest = name.split(".", 2)  # members.<name>.<rest>
        return cast(Source, self.members[member]).saves(rest)

    @property
    def averages(self) -> Sequence[Tensor]:
        return [weight for _, member in self.items() for weight in member.averages]

    @property
    def given(self) -> Sequence[PreTrainedModel]:
        return [model for _, member in self.items() for model in member.given]
