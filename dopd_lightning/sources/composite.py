"""Source made of other sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from dopd_lightning.errors import ConfigError
from dopd_lightning.sources.named import AnySource, sources_of
from dopd_lightning.sources.source import ScoringSource, Source


class Several(ScoringSource):
    """Base class of sources that hold other sources by name.

    Args:
        members: members by name: sources, causal language models, their paths or Hub names, or kinds.
        shown: probability, for each example, that the members see privileged text.

    Raises:
        ConfigError: if there is no member, or a member has an invalid name or a probability of its own.
    """

    def __init__(self, members: Mapping[str, AnySource], shown: float | None = None) -> None:
        super().__init__(shown)
        if not isinstance(members, Mapping):
            raise ConfigError(f"members: {members!r} must be sources by name, such as {{'maths': …}}")
        if not members:
            raise ConfigError("members: none is given; name at least one policy")
        self.members = nn.ModuleDict()
        for name in members:
            if not str(name).isidentifier() or hasattr(self.members, name):
                raise ConfigError(f"members: {name!r} cannot be the name of a member; use letters, digits and _")
        for name, source in sources_of(members).items():
            if not isinstance(source, ScoringSource):
                raise ConfigError(
                    f"members.{name}: {type(source).__name__} gives rewards, but members must give distributions; make "
                    "it a source of its own"
                )
            if source.shown is not None:
                raise ConfigError(
                    f"members.{name}.shown: {source.shown} would be ignored, since all members read the same "
                    "prompt; set `shown` of the source that holds them instead"
                )
            self.members[name] = source

    def items(self) -> Iterator[tuple[str, ScoringSource]]:
        """Yield the name of each member, and the member."""
        for name, member in self.members.items():
            yield name, cast(ScoringSource, member)

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


def keeping_dtype(sources: nn.ModuleDict) -> Iterator[tuple[nn.ModuleDict, str, Source]]:
    """Yield the sources that keep their dtype, including members of others: container, name and source of each.

    These are the sources whose weights were loaded in a dtype of their own (``Source.keeps_dtype``).

    Example:
        >>> from dopd_lightning.sources import Policy, Snapshot
        >>> sources = nn.ModuleDict({"teacher": Policy(nn.Linear(1, 1)), "start": Snapshot()})
        >>> [name for _, name, _ in keeping_dtype(sources)]
        ['teacher']
    """
    for name, source in sources.items():
        if isinstance(source, Several):
            yield from keeping_dtype(source.members)
        elif cast(Source, source).keeps_dtype:
            yield sources, name, cast(Source, source)
