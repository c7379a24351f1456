"""Interface of writers of hints, for models in this process and behind a server."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol


class Tokens(NamedTuple):
    """Number of tokens read and written, as far as the model reports them, failed attempts included."""

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: object) -> Tokens:
        assert isinstance(other, tuple)
        return Tokens(self.prompt + other[0], self.completion + other[1])


class Reply(NamedTuple):
    """Reply of a model.

    Attributes:
        text: without what it thought before, stripped; never empty.
        tokens: that it took.
    """

    text: str
    tokens: Tokens = Tokens()


class Failure(NamedTuple):
    """No usable reply, after all tries. It says nothing about the row.

    Attributes:
        sentence: what came instead.
        tokens: that it took.
    """

    sentence: str
    tokens: Tokens = Tokens()


Replies = Generator[tuple[int, Reply | Failure], None, None]
"""Replies as they come, each with its message's index; closing it ends what is under way."""

Write = Callable[[Iterable[str]], Replies]
"""Messages to their replies; messages are asked for when needed."""


class Writer(Protocol):
    """A chat model."""

    def settings(self) -> Mapping[str, Any]:
        """Settings that determine the replies, as plain values: model and sampling, not the place where it runs.

        Raises:
            ConfigError: if the model cannot be reached, or does not let us in.
        """

    def open(self) -> AbstractContextManager[Write]:
        """Have the model ready, for as long as the block lasts.

        Raises:
            ConfigError: there, or while writing, for what would fail for every row: no such model, no access.
        """


def said(text: str) -> str:
    """Return the response without the model's thinking; nothing if the thinking does not end."""
    if "</think>" in text:
        return text.rpartition("</think>")[2].strip()
    return "" if text.lstrip().startswith("<think>") else text.strip()
