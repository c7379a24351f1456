"""Completions of several turns, against the text of the whole chat."""

from __future__ import annotations

from typing import Any

import pytest

from dopd_lightning.data.chat_template import render
from dopd_lightning.data.example import Message, check_example, completion_text
from dopd_lightning.data.turns import turns_of
from dopd_lightning.errors import DataError
from tests.data.test_chat_template import CHATML

PROMPT: list[Message] = [{"role": "user", "content": "What is 12 + 34?"}]
COMPLETION: list[Message] = [
    {"role": "assistant", "content": "add(12, 34)"},
    {"role": "tool", "content": "46"},
    {"role": "assistant", "content": "It is 46."},
]


@pytest.fixture
def tokenizer(make_tokenizer: Any) -> Any:
    return make_tokenizer(chat_template=CHATML)


def test_the_tokens_are_those_of_the_chat_and_the_assistants_are_its_own(tokenizer: Any) -> None:
    end = tokenizer.eos_token_id
    turns = turns_of(PROMPT, COMPLETION, tokenizer, ends=[end])
    whole = render([*PROMPT, *COMPLETION], tokenizer, add_generation_prompt=False)
    assert tokenizer.decode(turns.ids) == whole[len(render(PROMPT, tokenizer)) :].rstrip("\n")
    own = tokenizer.decode([token for token, own in zip(turns.ids, turns.own, strict=True) if own])
    assert own == "add(12, 34)<|im_end|>It is 46.<|im_end|>"
    others = tokenizer.decode([token for token, own in zip(turns.ids, turns.own, strict=True) if not own])
    assert others == "\n<|im_start|>tool\n46<|im_end|>\n<|im_start|>assistant\n"
    assert turns.ids[-1] == end


def test_one_answer_is_as_text(tokenizer: Any) -> None:
    turns = turns_of(PROMPT, COMPLETION[2:], tokenizer, ends=[tokenizer.eos_token_id])
    assert turns.ids == [*tokenizer.encode("It is 46.", add_special_tokens=False), tokenizer.eos_token_id]
    assert all(turns.own)


def test_a_template_that_writes_earlier_turns_otherwise_is_refused(make_tokenizer: Any) -> None:
    counts_down = CHATML.replace("{{ m.content }}", "{{ loop.revindex }}: {{ m.content }}")
    tokenizer = make_tokenizer(chat_template=counts_down)
    with pytest.raises(DataError, match="changes the turns before message 0 once that message is there"):
        turns_of(PROMPT, COMPLETION, tokenizer)


@pytest.mark.parametrize(
    ("completion", "message"),
    [
        ([], "'completion' must be text, a list of chat messages, or null, found list"),
        ([1], r"completion\[0\] needs 'role' and 'content', found int 1"),
        (COMPLETION[1:], r"completion\[0\] has the role 'tool'; the first and the last message of a"),
        (COMPLETION[:2], r"completion\[1\] has the role 'tool'"),
        ([{"role": "assistant"}], r"completion\[0\] needs a 'content' that is text"),
    ],
)
def test_what_is_no_completion_is_refused(completion: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"here: {message}"):
        check_example({"prompt": PROMPT, "completion": completion}, "here")


def test_a_chat_does_not_answer_text() -> None:
    with pytest.raises(DataError, match="here: 'completion' must be text or null, found list"):
        check_example({"prompt": "1 + 1?", "completion": COMPLETION}, "here")


def test_its_text_is_the_last_answer() -> None:
    assert completion_text({"prompt": PROMPT, "completion": COMPLETION}) == "It is 46."
    assert completion_text({"prompt": "?", "completion": "2"}) == "2"
    assert completion_text({"prompt": "?"}) == ""
