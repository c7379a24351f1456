"""Templates of the kinds that models come with, and what they make of a chat."""

from __future__ import annotations

from typing import Any

import pytest

from dopd_lightning.data.chat_template import end_of_turn, render
from dopd_lightning.data.example import Message
from dopd_lightning.errors import DataError

CHAT: list[Message] = [
    {"role": "system", "content": "  Be brief. /no_think"},
    {"role": "user", "content": "1 + 1?"},
    {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nIt is 2.\n"},
    {"role": "user", "content": "And then?\n"},
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRIPS = CHATML.replace("m.content", "m.content | trim")
DROPS_THINKING = CHATML.replace("m.content", "m.content.split('</think>')[-1].replace('/no_think', '')")
PARTS_ALONE = (
    "{% for m in messages %}{{ m.role }}: {% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}"
    "{% endif %}{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
PARTS_OR_FAILS = CHATML.replace("m.content", "m.content[0]['text'] + ''")
DROPS_SYSTEM = CHATML.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
CUTS = CHATML.replace("m.content", "m.content[:5]")
ONE_LINE = CHATML.replace("m.content", "m.content.replace('\\n', ' ')")
JSON = CHATML.replace("m.content", "m.content | tojson")


@pytest.mark.parametrize("template", [CHATML, STRIPS, DROPS_THINKING, PARTS_ALONE, PARTS_OR_FAILS, JSON, ONE_LINE])
def test_every_message_is_in_the_text(make_tokenizer: Any, template: str) -> None:
    text = render(CHAT, make_tokenizer(chat_template=template))
    for content in ("Be brief.", "1 + 1?", "It is 2.", "And then?"):
        assert text.count(content) == 1


def test_plain_text_stays_plain_where_the_template_takes_it(make_tokenizer: Any) -> None:
    assert render(CHAT[1:2], make_tokenizer(chat_template=CHATML)) == (
        "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (DROPS_SYSTEM, r"leaves out the content of message 0 \('system'\), '  Be brief"),
        (CUTS, r"leaves out the content of message 0"),
        ("{{ nothing.there }}", "chat template refuses .*'nothing' is undefined"),
        ("{{ messages + 1 }}", "chat template refuses"),
        ("{{ messages[9].content.x }}", "chat template refuses"),
    ],
)
def test_a_template_that_leaves_something_out_or_fails_is_an_error(
    make_tokenizer: Any, template: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        render(CHAT, make_tokenizer(chat_template=template))


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (CHATML, "<|im_end|>"),
        (PARTS_ALONE, "<|im_end|>"),
        (PARTS_OR_FAILS, "<|im_end|>"),
        (CHATML.replace("<|im_end|>", " <|endoftext|>\n"), "<|endoftext|>"),  # as Llama 2's, and not the eos_token
        (DROPS_THINKING.replace("m.content", "'<think>\n</think>\n' + m.content"), "<|im_end|>"),
        (CHATML.replace("<|im_end|>", "</end>"), None),  # of several tokens, none of them special
        (CHATML.replace("<|im_end|>", ""), None),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", None),
        ("{{ raise_exception('nothing but tools') }}", None),
        (None, None),
    ],
)
def test_the_end_of_a_turn_is_what_the_template_writes_behind_it(
    make_tokenizer: Any, template: str | None, end: str | None
) -> None:
    tokenizer = make_tokenizer(chat_template=template, post="<s> $A <|im_end|>")
    found = end_of_turn(tokenizer)
    assert found == (None if end is None else tokenizer.convert_tokens_to_ids(end))


def test_of_several_tokens_behind_a_turn_one_that_ends_texts_is_its_end(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(chat_template=CHATML.replace("<|im_end|>", "<|im_start|><|im_end|><|endoftext|>"))
    assert [end_of_turn(tokenizer, known=known) for known in ((), (2,), (0,), (0, 2), (9,))] == [1, 2, 0, 2, 1]


def test_arguments_reach_the_template(make_tokenizer: Any) -> None:
    ends = CHATML.replace("<|im_end|>", "{{ '<|endoftext|>' if old else '<|im_end|>' }}")
    tokenizer = make_tokenizer(chat_template=ends)
    assert [end_of_turn(tokenizer, {"old": old}) for old in (True, False)] == [0, 2]
