"""One training or evaluation example, and the check that every dataset runs on what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Required, TypedDict, cast

from dopd_lightning.errors import ConfigError, DataError, check_choice


class Message(TypedDict):
    """One chat message."""

    role: str
    content: str


Prompt = str | list[Message]
"""Plain text, or chat messages."""


class Example(TypedDict, total=False):
    """A prompt ``x`` with everything that may come with it. Verifiers may use further keys of their own.

    Args:
        prompt: what the deployed student sees: plain text, or chat messages.
        privileged: what the teacher and the reference see besides (``p`` in the paper).
        answer: the right final answer, for verifiers.
        completion: a response to learn from directly (``rollout: dataset``).
        entry: the reasoning-gym entry behind the example, for its scorer.
    """

    prompt: Required[Prompt]
    privileged: str | None
    answer: str | int | float | None
    completion: str | None
    entry: Mapping[str, Any]


OPTIONAL_FIELDS = ("privileged", "answer", "completion")
FIELDS = ("prompt", *OPTIONAL_FIELDS)


def check_example(raw: object, where: str) -> Example:
    """Return ``raw`` as an example.

    Args:
        raw: anything that a file or a dataloader may hold.
        where: the place named in errors, such as ``train.jsonl, line 7``.

    Raises:
        DataError: if it is not an object with a ``prompt``, or a field has the wrong type.
    """
    if not isinstance(raw, Mapping):
        raise DataError(f"{where}: expected an object with a 'prompt', found {shortened(raw)}")
    if "prompt" not in raw:
        raise DataError(f"{where}: no 'prompt' among the keys {', '.join(map(repr, raw)) or '(none)'}")
    _check_prompt(raw["prompt"], where)
    for field in ("privileged", "completion"):
        if not isinstance(raw.get(field), str | None):
            raise DataError(f"{where}: {field!r} must be text or null, found {shortened(raw[field])}")
    if not isinstance(raw.get("answer"), str | int | float | None) or isinstance(raw.get("answer"), bool):
        raise DataError(f"{where}: 'answer' must be text, a number or null, found {shortened(raw['answer'])}")
    return cast(Example, dict(raw))


def _check_prompt(prompt: object, where: str) -> None:
    if isinstance(prompt, str):
        if not prompt:
            raise DataError(f"{where}: 'prompt' is empty")
        return
    if not isinstance(prompt, list):
        raise DataError(f"{where}: 'prompt' must be text or a list of chat messages, found {shortened(prompt)}")
    if not prompt:
        raise DataError(f"{where}: 'prompt' is an empty list; a chat needs at least one message")
    for n, message in enumerate(prompt):
        if not isinstance(message, Mapping):
            raise DataError(f"{where}: prompt[{n}] needs 'role' and 'content', found {shortened(message)}")
        for key in ("role", "content"):
            if not isinstance(message.get(key), str):
                found = (
                    shortened(message[key]) if key in message else f"only {', '.join(map(repr, message)) or 'nothing'}"
                )
                raise DataError(f"{where}: prompt[{n}] needs a {key!r} that is text, found {found}")


def shortened(value: object) -> str:
    """Type and value, for an error that says what was found."""
    if value is None:
        return "null"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def check_columns(columns: Mapping[str, str] | None) -> dict[str, str]:
    """Return a renaming ``our field -> their column`` as a plain dict.

    Raises:
        ConfigError: if it is no mapping of that kind.
    """
    if not isinstance(columns, Mapping | None):
        raise ConfigError(f"columns: {columns!r} must map our fields to your columns, as in {{'prompt': 'question'}}")
    for field in columns or {}:
        check_choice("columns", field, FIELDS)
    return dict(columns or {})


def rename_columns(row: object, columns: Mapping[str, str], where: str) -> object:
    """Give the columns of a row our names; the others keep theirs, for verifiers.

    Raises:
        DataError: if the row lacks a column that ``columns`` names.
    """
    if not columns or not isinstance(row, Mapping):
        return row
    for field, column in columns.items():
        if column not in row:
            raise DataError(f"{where}: no {column!r} (for {field!r}) among the keys {', '.join(map(repr, row))}")
    kept = {key: value for key, value in row.items() if key not in columns.values()}
    return kept | {field: row[column] for field, column in columns.items()}
