"""Examples of training and evaluation, and the check that every dataset runs on its rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from itertools import islice
from typing import Any, Required, TypedDict, cast

from dopd_lightning.errors import ConfigError, DataError, check_choice


class Message(TypedDict):
    """One chat message."""

    role: str
    content: str


Prompt = str | list[Message]
"""Plain text, or chat messages."""


class Example(TypedDict, total=False):
    """Example of a dataset: a prompt ``x`` with optional fields. Verifiers and sources may read further keys.

    Args:
        prompt: input of the deployed student: plain text, or chat messages.
        privileged: additional text for the teacher and the reference (``p`` in the paper).
        answer: correct final answer, for verifiers.
        completion: response to learn from directly (``rollout: dataset``): text, or chat messages of several turns.
        entry: reasoning-gym entry of the example, for its scorer.
    """

    prompt: Required[Prompt]
    privileged: str | None
    answer: str | int | float | None
    completion: str | list[Message] | None
    entry: Mapping[str, Any]


OPTIONAL_FIELDS = ("privileged", "answer", "completion")
FIELDS = ("prompt", *OPTIONAL_FIELDS)

ANSWERING_ROLES = ("assistant", "model")
"""Roles of the assistant. A chat whose last message has one of them ends with an answer."""

_PAIRED = ("chosen", "rejected")
_SEEN_OR_HEARD = ("image", "images", "video", "videos", "audio", "audios")


def check_example(raw: object, where: str) -> Example:
    """Return ``raw`` as an example.

    The assistant's message at the end of a chat becomes the ``completion``, as in data for supervised fine-tuning.

    Args:
        raw: any object from a file or a dataloader.
        where: place for errors, such as ``train.jsonl, line 7``.

    Raises:
        DataError: if ``raw`` is not a mapping with a ``prompt``, or a field has the wrong type or a content that is not
            supported (images, preference pairs, lone surrogates).

    Example:
        >>> check_example({"prompt": "1 + 1 = ?", "answer": 2}, "train.jsonl, line 1")
        {'prompt': '1 + 1 = ?', 'answer': 2}
        >>> check_example({"prompt": 3}, "line 7")
        Traceback (most recent call last):
            ...
        dopd_lightning.errors.DataError: line 7: 'prompt' must be text or a list of chat messages, found int 3
    """
    if not isinstance(raw, Mapping):
        raise DataError(f"{where}: expected an object with a 'prompt', found {shortened(raw)}")
    if "prompt" not in raw:
        raise DataError(f"{where}: no 'prompt' among the keys {listed(raw)}; columns={{prompt: …}} names its column")
    _check_meaning(raw, where)
    _check_prompt(raw["prompt"], where)
    if not isinstance(raw.get("privileged"), str | None):
        raise DataError(f"{where}: 'privileged' must be text or null, found {shortened(raw['privileged'])}")
    _check_completion(raw.get("completion"), raw["prompt"], where)
    answer = raw.get("answer")
    if not isinstance(answer, str | int | float | None) or isinstance(answer, bool):
        raise DataError(f"{where}: 'answer' must be text, a number or null, found {shortened(answer)}")
    if isinstance(answer, float) and not math.isfinite(answer):
        raise DataError(f"{where}: 'answer' must be a finite number, found {answer}")
    for field in FIELDS:
        check_characters(raw.get(field), f"{where}: {field!r}")
    return _with_answer_apart(cast(Example, dict(raw)), where)


def _check_completion(completion: object, prompt: object, where: str) -> None:
    if isinstance(completion, str | None):
        return
    if isinstance(prompt, str):
        raise DataError(f"{where}: 'completion' must be text or null, found {shortened(completion)}")
    if not isinstance(completion, list) or not completion:
        raise DataError(
            f"{where}: 'completion' must be text, a list of chat messages, or null, found {shortened(completion)}"
        )
    _check_messages("completion", completion, where)
    for place in (0, len(completion) - 1):
        if completion[place]["role"] not in ANSWERING_ROLES:
            raise DataError(
                f"{where}: completion[{place}] has the role {completion[place]['role']!r}; the first and the last "
                "message of a completion must be the assistant's"
            )


def prompt_text(prompt: Prompt) -> str:
    """Return a prompt as one text, with the role before each chat message.

    Example:
        >>> prompt_text([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}])
        'system: Be brief.\\n\\nuser: 1 + 1?'
    """
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def completion_text(example: Example) -> str:
    """Return the completion as one text: the last message of a chat, or an empty text if there is no completion.

    Example:
        >>> completion_text({"prompt": "1 + 1 = ?", "completion": "2"})
        '2'
    """
    completion = example.get("completion")
    return completion[-1]["content"] if isinstance(completion, list) else completion or ""


def _check_meaning(raw: Mapping[str, Any], where: str) -> None:
    """Raise DataError for fields that training would silently ignore."""
    pair = [name for name in _PAIRED if _is_given(raw.get(name))]
    if "chosen" in pair or (pair and not _is_given(raw.get("completion"))):
        raise DataError(
            f"{where}: {' and '.join(map(repr, pair))} are preference data, which nothing here learns from; "
            "use one as the completion, columns={completion: chosen}, or leave them out"
        )
    messages = raw["prompt"] if isinstance(raw["prompt"], list) else []
    for holder in (raw, *(message for message in messages if isinstance(message, Mapping))):
        for name in _SEEN_OR_HEARD:
            if _is_given(holder.get(name)):
                raise DataError(f"{where}: {name!r} is given, but models here read only text; leave it out")


def _is_given(value: object) -> bool:
    return len(value) > 0 if isinstance(value, Sized) else value is not None


def _with_answer_apart(example: Example, where: str) -> Example:
    """Move the answer at the end of a chat prompt into the completion."""
    prompt = example["prompt"]
    if isinstance(prompt, str) or prompt[-1]["role"] not in ANSWERING_ROLES:
        return example
    before, last = prompt[:-1], prompt[-1]
    if not before or before[-1]["role"] in ANSWERING_ROLES:
        raise DataError(f"{where}: 'prompt' ends with the assistant's message, which must follow a user's message")
    example["prompt"] = before
    if not last["content"].strip():
        return example
    given = example.get("completion")
    if given is None:
        example["completion"] = last["content"]
    elif not isinstance(given, str) or given.strip() != last["content"].strip():
        raise DataError(
            f"{where}: 'prompt' ends with an answer, {shortened(last['content'])}, but 'completion' is different, "
            f"{shortened(given)}; leave one of them out"
        )
    return example


def _check_prompt(prompt: object, where: str) -> None:
    if isinstance(prompt, str):
        if not prompt.strip():
            raise DataError(f"{where}: 'prompt' is {'blank' if prompt else 'empty'}")
        return
    if not isinstance(prompt, list):
        raise DataError(f"{where}: 'prompt' must be text or a list of chat messages, found {shortened(prompt)}")
    if not prompt:
        raise DataError(f"{where}: 'prompt' is an empty list; a chat needs at least one message")
    _check_messages("prompt", prompt, where)
    if not prompt[-1]["content"].strip() and prompt[-1]["role"] not in ANSWERING_ROLES:
        raise DataError(f"{where}: prompt[{len(prompt) - 1}], the last message, is blank")


def _check_messages(field: str, messages: Sequence[object], where: str) -> None:
    for n, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise DataError(f"{where}: {field}[{n}] needs 'role' and 'content', found {shortened(message)}")
        if isinstance(message.get("content"), list | tuple):
            raise DataError(
                f"{where}: {field}[{n}] has its content in parts{_types_of(message['content'])}; give one text (models "
                "here read no images)"
            )
        for key in ("role", "content"):
            if not isinstance(message.get(key), str):
                found = shortened(message[key]) if key in message else f"only {listed(message)}"
                raise DataError(f"{where}: {field}[{n}] needs a {key!r} that is text, found {found}")


def _types_of(parts: Sequence[object]) -> str:
    types = dict.fromkeys(part["type"] for part in parts if isinstance(part, Mapping) and "type" in part)
    return f" ({', '.join(shortened(name) for name in types)})" if types else ""


def check_characters(value: object, where: str) -> None:
    """Raise DataError for a lone surrogate in any text of ``value``: JSON can encode it, but no tokenizer reads it.

    Raises:
        DataError: naming the first one.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{where} has half a character, \\u{ord(value[error.start]):04x}, at position {error.start}; "
                "was a text cut in the middle of an escaped emoji?"
            ) from None
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            check_characters(key, f"{where}, a key")
            check_characters(inner, where)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_characters(inner, where)


def shortened(value: object) -> str:
    """Return type and value of an object as text for an error, at most 60 characters of the value."""
    if value is None:
        return "null"
    text = repr(value[:60] if isinstance(value, str | bytes) else value)
    cut = len(text) > 60 or (isinstance(value, str | bytes) and len(value) > 60)
    return f"{type(value).__name__} {text[:57] + '...' if cut else text}"


def listed(keys: Iterable[object]) -> str:
    """Return keys as text for an error: the first 20 of them, each cut after 40 characters."""
    first = [*islice(keys, 21)]
    names = ", ".join(repr(key) if len(str(key)) <= 40 else repr(str(key)[:40])[:-1] + "...'" for key in first[:20])
    return (names + (", …" if len(first) > 20 else "")) or "(none)"


def check_columns(columns: Mapping[str, str] | None) -> dict[str, str]:
    """Return a mapping ``our field -> column of the dataset`` as a plain dict.

    Raises:
        ConfigError: if it is not such a mapping, or maps the prompt and another field to the same column.
    """
    if not isinstance(columns, Mapping | None):
        raise ConfigError(f"columns: {columns!r} must map our fields to your columns, as in {{'prompt': 'question'}}")
    for field, column in (columns or {}).items():
        check_choice("columns", field, FIELDS)
        if not isinstance(column, str) or not column:
            raise ConfigError(f"columns: {field!r} must be the name of a column, found {shortened(column)}")
        if field != "prompt" and column == (columns or {}).get("prompt", "prompt"):
            raise ConfigError(f"columns: {column!r} is the prompt and cannot be {field!r} as well; name another column")
    return dict(columns or {})


def rename_columns(row: object, columns: Mapping[str, str], where: str) -> object:
    """Rename a row's columns to our fields; other columns keep their names.

    An optional field that another optional field is read from is copied: ``{"privileged": "completion"}`` keeps both.

    Raises:
        DataError: if the row lacks a column that ``columns`` names.
    """
    if not columns or not isinstance(row, Mapping):
        return row
    for field, column in columns.items():
        if column not in row:
            raise DataError(f"{where}: no {column!r} (for {field!r}) among the keys {listed(row)}")
    moved = {column for field, column in columns.items() if field == "prompt" or column not in OPTIONAL_FIELDS}
    kept = {key: value for key, value in row.items() if key not in moved}
    return kept | {field: row[column] for field, column in columns.items()}
