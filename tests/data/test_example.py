from __future__ import annotations

from typing import Any

import pytest

from dopd_lightning.data.example import check_columns, check_example, rename_columns
from dopd_lightning.errors import ConfigError, DataError

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}]


@pytest.mark.parametrize(
    "raw",
    [
        {"prompt": "1 + 1?"},
        {"prompt": CHAT},
        {"prompt": "1 + 1?", "privileged": "Add.", "answer": 2, "completion": "2", "entry": {"metadata": {}}},
        {"prompt": "1 + 1?", "privileged": None, "answer": None, "completion": None},
        {"prompt": "1 / 2?", "answer": 0.5, "my_key": object()},
    ],
)
def test_an_example_passes_unchanged(raw: dict[str, Any]) -> None:
    assert check_example(raw, "here") == raw


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (["1 + 1?"], "expected an object with a 'prompt', found list ['1 + 1?']"),
        ({"question": "1 + 1?", "x": 1}, "no 'prompt' among the keys 'question', 'x'"),
        ({}, "no 'prompt' among the keys (none)"),
        ({"prompt": None}, "'prompt' must be text or a list of chat messages, found null"),
        ({"prompt": 3}, "'prompt' must be text or a list of chat messages, found int 3"),
        ({"prompt": ""}, "'prompt' is empty"),
        ({"prompt": []}, "'prompt' is an empty list; a chat needs at least one message"),
        ({"prompt": ["hello"]}, "prompt[0] needs 'role' and 'content', found str 'hello'"),
        ({"prompt": [CHAT[0], {"role": "user"}]}, "prompt[1] needs a 'content' that is text, found only 'role'"),
        ({"prompt": [{"role": 1, "content": "x"}]}, "prompt[0] needs a 'role' that is text, found int 1"),
        ({"prompt": "x", "privileged": 7}, "'privileged' must be text or null, found int 7"),
        ({"prompt": "x", "completion": ["y"]}, "'completion' must be text or null, found list ['y']"),
        ({"prompt": "x", "answer": [1]}, "'answer' must be text, a number or null, found list [1]"),
        ({"prompt": "x", "answer": True}, "'answer' must be text, a number or null, found bool True"),
    ],
)
def test_an_error_names_the_place_the_field_and_the_value(raw: object, message: str) -> None:
    with pytest.raises(DataError) as error:
        check_example(raw, "train.jsonl, line 7")
    assert str(error.value) == f"train.jsonl, line 7: {message}"


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(DataError) as error:
        check_example({"prompt": "x", "privileged": ["y" * 1000]}, "here")
    assert len(str(error.value)) < 120


def test_columns_are_renamed_and_others_kept() -> None:
    row = {"question": "1 + 1?", "prompt": "old", "solution": "2", "id": 5}
    assert rename_columns(row, {"prompt": "question", "answer": "solution"}, "here") == {
        "prompt": "1 + 1?",
        "answer": "2",
        "id": 5,
    }


def test_two_fields_may_come_from_one_column() -> None:
    assert rename_columns({"q": "x"}, {"prompt": "q", "completion": "q"}, "here") == {"prompt": "x", "completion": "x"}


def test_a_column_that_is_named_must_be_there() -> None:
    with pytest.raises(DataError, match=r"row 3: no 'question' \(for 'prompt'\) among the keys 'q', 'a'"):
        rename_columns({"q": "x", "a": "y"}, {"prompt": "question"}, "row 3")


def test_only_fields_of_an_example_can_be_renamed() -> None:
    with pytest.raises(ConfigError, match="columns: 'question' is not one of answer, completion, privileged, prompt"):
        check_columns({"question": "prompt"})
    with pytest.raises(ConfigError, match="must map our fields to your columns"):
        check_columns(["prompt"])  # type: ignore[arg-type]
