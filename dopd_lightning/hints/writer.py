"""Interface of writers of hints: chat models in this process or behind a server."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol


class Tokens(NamedTuple):
    """Numbers of tokens read and written, if the model reports them, including failed attempts.

    Example:
        >>> Tokens(prompt=120, completion=30) + Tokens(prompt=130, completion=20)
        Tokens(prompt=250, completion=50)
    """

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: object) -> Tokens:
        assert isinstance(other, tuple)
        return Tokens(self.prompt + other[0], self.completion + other[1])


class Reply(NamedTuple):
    """Reply of a model.

    Attributes:
        text: text without the model's thinking, stripped; never empty.
        tokens: tokens used for it.

    Example:
        >>> Reply("Add 12 and 34, then subtract 5.", Tokens(120, 11)).tokens.completion
        11
    """

    text: str
    tokens: Tokens = Tokens()


class Failure(NamedTuple):
    """Missing reply: no attempt brought a usable one. The cause is the model or the server, not the row.

    Attributes:
        sentence: reason.
        tokens: tokens used nevertheless.

    Example:
        >>> Failure("the reply is empty", Tokens(120, 1))
        Failure(sentence='the reply is empty', tokens=Tokens(prompt=120, completion=1))
    """

    sentence: str
    tokens: Tokens = Tokens()


Replies = Generator[tuple[int, Reply | Failure], None, None]
"""Replies in the order of arrival, each with the index of its message; closing it cancels open requests."""

Write = Callable[[Iterable[str]], Replies]
"""Function from messages to replies; it takes each message only when it is needed."""


class Writer(Protocol):
    """Chat model that writes hints."""

    def settings(self) -> Mapping[str, Any]:
        """Return the settings that determine the replies, as plain values: model and sampling, not device or address.

        Raises:
            ConfigError: if the model cannot be reached, or access is denied.
        """

    def open(self) -> AbstractContextManager[Write]:
        """Make the model ready inside the block, and yield a function that sends messages to it.

        Raises:
            ConfigError: on entering or while writing, if every row would fail: no such model, no access.
        """


def said(text: str) -> str:
    """Return the reply without the model's thinking; an empty text if the thinking does not end."""
    if "</think>" in text:
        return text.rpartition("</think>")[2].strip()
    return "" if text.lstrip().startswith("<think>") else text.strip()
