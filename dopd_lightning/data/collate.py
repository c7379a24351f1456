"""Batches: dicts of columns from the dataloaders of this package, and the batches of other dataloaders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from dopd_lightning.data.example import OPTIONAL_FIELDS, Example, check_example
from dopd_lightning.errors import DataError

Batch = Mapping[str, Any]


def collate(examples: Sequence[Example]) -> dict[str, list[Any]]:
    """Collate examples into columns of equal length, with ``None`` where an example lacks a field.

    Texts are not tokenized here: each policy has its own prompt, with or without privileged text.

    Example:
        >>> collate([{"prompt": "1 + 1 = ?", "answer": 2}, {"prompt": "Why?"}])
        {'prompt': ['1 + 1 = ?', 'Why?'], 'privileged': [None, None], 'answer': [2, None], 'completion': [None, None]}
    """
    names = dict.fromkeys(["prompt", *OPTIONAL_FIELDS, *(name for example in examples for name in example)])
    return {name: [example.get(name) for example in examples] for name in names}


def examples_of(batch: object) -> list[Example]:
    """Return the examples of a batch, also of one from another dataloader.

    A batch is a dict of columns (from :func:`collate`, or from torch's ``default_collate``, which also transposes chats
    of equal length), a list of examples, or a single example.

    Raises:
        DataError: if the batch is none of these, lacks ``prompt``, or has columns of different lengths.

    Example:
        >>> examples_of({"prompt": ["1 + 1 = ?", "2 + 2 = ?"], "answer": [2, 4]})
        [{'prompt': '1 + 1 = ?', 'answer': 2}, {'prompt': '2 + 2 = ?', 'answer': 4}]
    """
    if isinstance(batch, list | tuple):
        return [check_example(raw, f"batch, example {n}") for n, raw in enumerate(batch)]
    if not isinstance(batch, Mapping):
        raise DataError(f"batch: expected a dict with 'prompt' or a list of such dicts, found {type(batch).__name__}")
    if "prompt" not in batch:
        raise DataError(f"batch: no 'prompt' among the keys {', '.join(map(repr, batch)) or '(none)'}")
    prompt = batch["prompt"]
    if not isinstance(prompt, list | tuple):
        return [check_example(batch, "batch")]
    if not prompt:
        return []
    if isinstance(prompt[0], Mapping):
        if isinstance(prompt[0].get("content"), list | tuple):
            size = len(prompt[0]["content"])
            prompts = [[_pick(message, n, "prompt") for message in prompt] for n in range(size)]
            return _rows({**batch, "prompt": prompts})
        return [check_example({**batch, "prompt": list(prompt)}, "batch")]
    return _rows(batch)


def _rows(columns: Batch) -> list[Example]:
    size = len(columns["prompt"])
    rows = [{name: _pick(column, n, name, size) for name, column in columns.items()} for n in range(size)]
    return [check_example(row, f"batch, example {n}") for n, row in enumerate(rows)]


def _pick(column: Any, n: int, name: str, size: int | None = None) -> Any:
    """Return the value of example ``n`` in a column, undoing ``default_collate`` of tensors and nested objects."""
    if isinstance(column, Mapping):  # default_collate turned many objects into one object of columns
        return {key: _pick_nested(value, n, f"{name}.{key}") for key, value in column.items()}
    if not isinstance(column, list | tuple | Tensor) or (size is not None and len(column) != size):
        found = f"{len(column)} values" if isinstance(column, list | tuple | Tensor) else type(column).__name__
        raise DataError(f"batch: {name!r} must be a list with one value for each of the {size} prompts, found {found}")
    value = column[n]
    return value.item() if isinstance(value, Tensor) and value.ndim == 0 else value


def _pick_nested(column: Any, n: int, name: str) -> Any:
    """Return the value of example ``n`` inside an object; lists of anything but texts were transposed."""
    if isinstance(column, list | tuple) and not all(isinstance(value, str) for value in column):
        return [_pick_nested(value, n, name) for value in column]
    return _pick(column, n, name)
