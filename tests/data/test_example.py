from __future__ import annotations

import math
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
        ({"q": "1?", "x": 1}, "no 'prompt' among the keys 'q', 'x'; columns={prompt: …} names its column"),
        ({}, "no 'prompt' among the keys (none); columns={prompt: …} names its column"),
        ({"prompt": None}, "'prompt' must be text or a list of chat messages, found null"),
        ({"prompt": 3}, "'prompt' must be text or a list of chat messages, found int 3"),
        ({"prompt": ""}, "'prompt' is empty"),
        ({"prompt": " \n"}, "'prompt' is blank"),
        ({"prompt": [CHAT[0], {"role": "user", "content": " "}]}, "prompt[1], the last message, is blank"),
        ({"prompt": []}, "'prompt' is an empty list; a chat needs at least one message"),
        ({"prompt": ["hello"]}, "prompt[0] needs 'role' and 'content', found str 'hello'"),
        ({"prompt": [CHAT[0], {"role": "user"}]}, "prompt[1] needs a 'content' that is text, found only 'role'"),
        ({"prompt": [{"role": 1, "content": "x"}]}, "prompt[0] needs a 'role' that is text, found int 1"),
        ({"prompt": "x", "privileged": 7}, "'privileged' must be text or null, found int 7"),
        ({"prompt": "x", "completion": ["y"]}, "'completion' must be text or null, found list ['y']"),
        ({"prompt": "x", "answer": [1]}, "'answer' must be text, a number or null, found list [1]"),
        ({"prompt": "x", "answer": True}, "'answer' must be text, a number or null, found bool True"),
        ({"prompt": "x", "answer": math.inf}, "'answer' must be a finite number, found inf"),
        (
            {"prompt": "x", "privileged": "a\ud83d"},
            "'privileged' has half a character, \\ud83d, at position 1; was a text cut in the middle "
            "of an escaped emoji?",
        ),
        (
            {"prompt": [{"role": "user", "content": "x", "images": ["a.png"]}]},
            "'images' is given, but models here read only text; leave it out",
        ),
        ({"prompt": "x", "images": ["a.png"]}, "'images' is given, but models here read only text; leave it out"),
        (
            {"prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "x"}]}]},
            "prompt[0] has its content in parts (str 'image', str 'text'); give one text (models here read no images)",
        ),
        (
            {"prompt": "x", "chosen": "y", "rejected": "z"},
            "'chosen' and 'rejected' are preference data, which nothing here learns from; use one as the "
            "completion, columns={completion: chosen}, or leave them out",
        ),
        (
            {"prompt": [{"role": "assistant", "content": "Hi"}]},
            "'prompt' ends with the assistant's message, which must follow a user's message",
        ),
        (
            {"prompt": [*CHAT, {"role": "assistant", "content": "2"}], "completion": "3"},
            "'prompt' ends with an answer, str '2', but 'completion' is different, str '3'; leave one of them out",
        ),
    ],
)
def test_an_error_names_the_place_the_field_and_the_value(raw: object, message: str) -> None:
    with pytest.raises(DataError) as error:
        check_example(raw, "train.jsonl, line 7")
    assert str(error.value) == f"train.jsonl, line 7: {message}"


@pytest.mark.parametrize("role", ["assistant", "model"])
@pytest.mark.parametrize(
    ("answer", "given", "expected"), [("2", None, "2"), (" 2\n", "2", "2"), ("", None, None), (" ", "2", "2")]
)
def test_the_answer_that_a_chat_ends_with_is_its_completion(
    role: str, answer: str, given: str | None, expected: str | None
) -> None:
    raw = {"prompt": [*CHAT, {"role": role, "content": answer}], "completion": given}
    assert check_example(raw, "here") == {"prompt": CHAT, "completion": expected}
    assert len(raw["prompt"] or ()) == 3, "what was given is left alone"


def test_fields_without_a_value_and_half_of_a_pair_beside_a_completion_pass() -> None:
    raw = {"prompt": "x", "images": [], "audio": None, "completion": "y", "rejected": "z"}
    assert check_example(raw, "here") == raw


@pytest.mark.parametrize(
    "raw", [{"prompt": "x", "privileged": ["y" * 1000]}, {"y" * 1000: 1, **dict.fromkeys("abc" * 9)}]
)
def test_a_long_value_is_shortened(raw: dict[str, Any]) -> None:
    with pytest.raises(DataError) as error:
        check_example(raw, "here")
    assert len(str(error.value)) < 160


def test_columns_are_renamed_and_others_kept() -> None:
    row = {"question": "1 + 1?", "prompt": "old", "solution": "2", "id": 5}
    assert rename_columns(row, {"prompt": "question", "answer": "solution"}, "here") == {
        "prompt": "1 + 1?",
        "answer": "2",
        "id": 5,
    }


def test_two_fields_may_come_from_one_column() -> None:
    row = {"prompt": "1 + 1?", "solution": "2"}
    expected = {"prompt": "1 + 1?", "answer": "2", "privileged": "2"}
    assert rename_columns(row, {"answer": "solution", "privileged": "solution"}, "here") == expected


def test_a_field_of_ours_that_another_is_taken_from_stays() -> None:
    row = {"prompt": "1 + 1?", "answer": "2"}
    assert rename_columns(row, {"privileged": "answer"}, "here") == {**row, "privileged": "2"}


def test_a_column_that_is_named_must_be_there() -> None:
    with pytest.raises(DataError, match=r"row 3: no 'question' \(for 'prompt'\) among the keys 'q', 'a'"):
        rename_columns({"q": "x", "a": "y"}, {"prompt": "question"}, "row 3")


def test_only_fields_of_an_example_can_be_renamed() -> None:
    with pytest.raises(ConfigError, match="columns: 'question' is not one of answer, completion, privileged, prompt"):
        check_columns({"question": "prompt"})
    with pytest.raises(ConfigError, match="columns: 'answer' must be the name of a column, found null"):
        check_columns({"answer": None})  # type: ignore[dict-item]
    for columns in ({"prompt": "q", "privileged": "q"}, {"answer": "prompt"}):
        with pytest.raises(ConfigError, match=r"columns: '(q|prompt)' is the prompt and cannot be .* as well"):
            check_columns(columns)
    check_columns({"answer": "prompt", "prompt": "answer"})
    with pytest.raises(ConfigError, match="must map our fields to your columns"):
        check_columns(["prompt"])  # type: ignore[arg-type]
