from __future__ import annotations

import logging
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Subset
from transformers import PreTrainedTokenizerFast

from dopd_lightning.data import prompt_format
from dopd_lightning.data.example import Example
from dopd_lightning.data.prompt_format import PromptFormat
from dopd_lightning.data.reasoning_gym import ReasoningGymDataset
from dopd_lightning.errors import ConfigError, DataError

TEXT: Example = {"prompt": "1 + 1?", "privileged": "Add."}
CHAT: Example = {
    "prompt": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "1 + 1?"},
        {"role": "tool", "content": "2"},
    ],
    "privileged": "Add.",
}
BEFORE = "<|im_start|>user: Hi<|im_end|><|im_start|>assistant: Yes?<|im_end|>"
AFTER = "<|im_start|>tool: 2<|im_end|><|im_start|>assistant: "


def test_plain_text(tokenizer: PreTrainedTokenizerFast) -> None:
    assert PromptFormat().text(TEXT, tokenizer, privileged=False) == "1 + 1?"
    assert PromptFormat().text(TEXT, tokenizer, privileged=True) == "1 + 1?\n\nHint: Add."


def test_privileged_text_goes_into_the_last_user_message(tokenizer: PreTrainedTokenizerFast) -> None:
    bare = PromptFormat().text(CHAT, tokenizer, privileged=False)
    privileged = PromptFormat().text(CHAT, tokenizer, privileged=True)
    assert bare == f"{BEFORE}<|im_start|>user: 1 + 1?<|im_end|>{AFTER}"
    assert privileged == f"{BEFORE}<|im_start|>user: 1 + 1?\n\nHint: Add.<|im_end|>{AFTER}"


def test_the_example_itself_is_left_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    example: Example = {"prompt": [{"role": "user", "content": "1 + 1?"}], "privileged": "Add."}
    PromptFormat().text(example, tokenizer, privileged=True)
    assert example == {"prompt": [{"role": "user", "content": "1 + 1?"}], "privileged": "Add."}


@pytest.mark.parametrize("prompt", ["1 + 1?", [{"role": "user", "content": "1 + 1?"}]])
@pytest.mark.parametrize("missing", [{}, {"privileged": None}])
def test_without_privileged_text_both_prompts_are_the_bare_one(
    tokenizer: PreTrainedTokenizerFast, prompt: Any, missing: Any
) -> None:
    example = cast(Example, {"prompt": prompt, **missing})
    ids = [PromptFormat().token_ids(example, tokenizer, privileged) for privileged in (False, True)]
    assert ids[0] == ids[1]


def test_templates_and_chat_template_kwargs(tokenizer: PreTrainedTokenizerFast) -> None:
    format_ = PromptFormat(
        privileged_text="[{privileged}] {prompt} {x}",
        privileged_message="[{privileged}] {content}",
        chat_template_kwargs={"enable_thinking": False},
    )
    chat: Example = {"prompt": [{"role": "user", "content": "1 + 1?"}], "privileged": "Add."}
    assert format_.text(TEXT, tokenizer, privileged=True) == "[Add.] 1 + 1? {x}"
    assert format_.text(chat, tokenizer, privileged=True) == (
        "<|im_start|>user: [Add.] 1 + 1?<|im_end|><|im_start|>assistant: (no thinking)"
    )


@given(prompt=st.text(alphabet="{}privlegdomt%\\1 ", min_size=1), hint=st.text(alphabet="{}privlegdomt%\\1 "))
def test_braces_in_texts_are_only_texts(tokenizer: PreTrainedTokenizerFast, prompt: str, hint: str) -> None:
    for text, privileged in ((prompt, hint), ("{privileged}{prompt}" + prompt, "{content}{prompt}{0}" + hint)):
        expected = text + "\n\nHint: " + privileged
        assert PromptFormat().text({"prompt": text, "privileged": privileged}, tokenizer, privileged=True) == expected
        chat: Example = {"prompt": [{"role": "user", "content": text}], "privileged": privileged}
        assert f"user: {expected}<|im_end|>" in PromptFormat().text(chat, tokenizer, privileged=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"privileged_text": "{prompt}"}, r"privileged_text: '\{prompt\}' must contain \{privileged\}"),
        ({"privileged_text": "{content} {privileged}"}, r"privileged_text: .* must contain \{prompt\}"),
        ({"privileged_message": "{prompt} {privileged}"}, r"privileged_message: .* must contain \{content\}"),
        ({"privileged_message": "{content}"}, r"must contain \{privileged\}"),
        ({"max_tokens": 0}, "max_tokens: 0 must be at least 1"),
        ({"overlong": "truncate"}, "overlong: 'truncate' is not one of drop, fail"),
        ({"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs: 'tokenize' is set by the prompt format"),
    ],
)
def test_a_setting_that_cannot_work_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PromptFormat(**settings)


def test_a_chat_needs_a_tokenizer_with_a_chat_template(make_tokenizer: Any) -> None:
    with pytest.raises(DataError, match="chat messages need a tokenizer with a chat template"):
        PromptFormat().text(CHAT, make_tokenizer(chat_template=None), privileged=False)


def test_a_chat_that_the_template_refuses_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match=r"chat template refuses \[\{'role': 'function'.*no functions here"):
        PromptFormat().text({"prompt": [{"role": "function", "content": "x"}]}, tokenizer, privileged=False)


def test_a_chat_that_is_answered_already_is_no_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    answered: Example = {"prompt": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]}
    with pytest.raises(DataError, match="the chat already ends with an answer, str '2'"):
        PromptFormat().text(answered, tokenizer, privileged=False)


def test_what_the_template_leaves_out_is_an_error_in_its_place(make_tokenizer: Any) -> None:
    """Privileged text, too: here of the second example alone, in front of a content of which the end is kept."""
    cuts = make_tokenizer(chat_template="{{ messages[0].content[-6:] }}")
    examples: list[Example] = [{"prompt": [{"role": "user", "content": "1 + 1?"}]} for _ in range(2)]
    examples[1]["privileged"] = "Add."
    format_ = PromptFormat(privileged_message="{privileged} {content}")
    with pytest.raises(
        DataError, match=r"^train\[1\]: prompt: .* leaves out the content of message 0 \('user'\), 'Add\. 1"
    ):
        format_.select(examples, cuts, "train")


@pytest.mark.parametrize("field", ["prompt", "completion"])
def test_a_token_for_a_picture_is_refused_where_the_tokenizer_has_it(make_tokenizer: Any, field: str) -> None:
    example = cast(Example, {"prompt": "What is this?", field: "See <|image_pad|>"})
    tokenizer = make_tokenizer()
    assert PromptFormat().select([example], tokenizer, "train") == [example], "to this one it is text"
    sees = make_tokenizer()
    sees.add_special_tokens({"additional_special_tokens": ["<|image_pad|>"]})
    with pytest.raises(DataError, match=rf"train\[0\]: {field}: it contains '<\|image_pad\|>', this tokenizer's"):
        PromptFormat().select([example], sees, "train")


def test_privileged_text_needs_a_user_message(tokenizer: PreTrainedTokenizerFast) -> None:
    example: Example = {"prompt": [{"role": "system", "content": "x"}], "privileged": "Add."}
    PromptFormat().text(example, tokenizer, privileged=False)
    with pytest.raises(DataError, match="goes into the last 'user' message, but the roles are 'system'"):
        PromptFormat().text(example, tokenizer, privileged=True)


@pytest.mark.parametrize(
    ("post", "text", "expected"),
    [
        (None, "ab", "ab"),
        ("<s> $A", "ab", "<s>ab"),
        ("<s> $A", "<s>ab", "<s>ab"),  # spelled already
        (None, "<s>ab", "<s>ab"),
        ("<s> $A <|im_end|>", "ab", "<s>ab"),  # an end-of-sequence token behind the prompt: no response would follow
        ("$A <|im_end|>", "ab", "ab"),
        ("<s> $A", "ab<|im_end|>", "<s>ab<|im_end|>"),  # the user's own
    ],
)
def test_plain_text_gets_the_tokenizers_special_tokens_but_no_end(
    make_tokenizer: Any, post: str | None, text: str, expected: str
) -> None:
    tokenizer = make_tokenizer(post=post)
    ids = PromptFormat().token_ids({"prompt": text}, tokenizer, privileged=False)
    assert tokenizer.decode(ids) == expected


def test_a_chat_gets_no_special_tokens_twice(make_tokenizer: Any) -> None:
    example: Example = {"prompt": [{"role": "user", "content": "a"}]}
    tokenizer = make_tokenizer(post="<s> $A <|im_end|>", chat_template="<s>{{ messages[0].content }}<|im_end|>")
    assert tokenizer.decode(PromptFormat().token_ids(example, tokenizer, privileged=False)) == "<s>a<|im_end|>"


def lengths(*lengths: int) -> list[Example]:
    return [{"prompt": "x" * length} for length in lengths]


def test_the_longer_of_both_prompts_counts(tokenizer: PreTrainedTokenizerFast, make_tokenizer: Any) -> None:
    assert PromptFormat().length(TEXT, tokenizer) == len("1 + 1?\n\nHint: Add.")
    shortens = make_tokenizer(
        chat_template="{{ messages[0].content }}{{ '' if 'Hint' in messages[0].content else 'x' * 20 }}"
    )
    chat: Example = {"prompt": [{"role": "user", "content": "1 + 1?"}], "privileged": "Add."}
    assert PromptFormat().length(chat, shortens) == len("1 + 1?") + 20
    with pytest.raises(DataError, match="the longest has 18"):
        PromptFormat(max_tokens=17).select([TEXT], tokenizer, "train")


def test_a_dataset_within_the_limit_is_returned_as_it_is(tokenizer: PreTrainedTokenizerFast) -> None:
    for overlong in ("fail", "drop"):
        dataset = lengths(5, 10, 1)
        assert PromptFormat(max_tokens=10, overlong=overlong).select(dataset, tokenizer, "train") is dataset


def test_fail_says_how_many_how_long_and_where(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError) as error:
        PromptFormat(max_tokens=10).select(lengths(5, 11, 10, 30), tokenizer, "val")
    assert str(error.value) == (
        "val: 2 of 4 prompts are longer than max_tokens=10 (the longest has 30, the first is at index 1); "
        "raise max_tokens, shorten them, or set overlong=drop"
    )


def test_a_prompt_of_megabytes_is_too_long_without_being_tokenized(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer()
    huge, longest = "x" * 30_000_000, max(map(len, tokenizer.get_vocab()))
    dataset: list[Example] = [{"prompt": "x"}, {"prompt": [{"role": "user", "content": huge}]}]
    with pytest.raises(DataError, match=f"the longest has {len(huge) // longest}, the first is at index 1"):
        PromptFormat().select(dataset, tokenizer, "train")
    assert PromptFormat(overlong="drop").select(dataset, tokenizer, "train")[0] == {"prompt": "x"}  # type: ignore[index]


def test_drop_leaves_the_others_uncut_and_says_how_many(
    tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    format_ = PromptFormat(max_tokens=10, overlong="drop")
    with caplog.at_level(logging.WARNING):
        kept = format_.select(lengths(5, 11, 10, 30), tokenizer, "train")
    assert isinstance(kept, Subset)
    assert [kept[n] for n in range(len(kept))] == lengths(5, 10)
    assert "train: 2 of 4 prompts are longer than max_tokens=10" in caplog.text
    with pytest.raises(DataError, match=r"train: 2 of 2 .* dropping them would leave nothing"):
        format_.select(lengths(11, 11), tokenizer, "train")


def test_an_invalid_example_is_named(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match=r"train\[1\]: no 'prompt' among the keys 'question'"):
        PromptFormat().select([{"prompt": "a"}, {"question": "b"}], tokenizer, "train")  # type: ignore[typeddict-item]


def test_a_huge_generated_dataset_is_measured_at_evenly_spread_places(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prompt_format, "MOST_CHECKED", 50)
    huge = ReasoningGymDataset("chain_sum", 10**9)
    with caplog.at_level(logging.INFO):
        assert PromptFormat().select(huge, tokenizer, "train") is huge
    assert "train: measured every 20000000-th of 1000000000 prompts" in caplog.text
    with pytest.raises(DataError, match="train: 50 of 50 prompts are longer"):
        PromptFormat(max_tokens=20).select(huge, tokenizer, "train")


class Generated(list[Example]):
    generated = True


def test_to_drop_overlong_prompts_all_are_measured(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_format, "MOST_CHECKED", 2)
    data = Generated(lengths(5, 11, 10, 30, 7))
    kept = cast(Subset[Example], PromptFormat(max_tokens=10, overlong="drop").select(data, tokenizer, "train"))
    assert [kept[n] for n in range(len(kept))] == lengths(5, 10, 7)


def test_a_set_that_is_all_there_is_measured_whole(tokenizer: PreTrainedTokenizerFast) -> None:
    data = lengths(*[5] * 4999, 11)
    with pytest.raises(DataError, match=r"train: 1 of 5000 prompts .* the first is at index 4999"):
        PromptFormat(max_tokens=10).select(data, tokenizer, "train")
    assert not ReasoningGymDataset("chain_sum", 2, "val").generated


def test_the_room_that_positions_leave_is_a_limit_too(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError) as error:
        PromptFormat().select(lengths(5, 11, 10), tokenizer, "train", room=10)
    assert str(error.value) == (
        "train: 1 of 3 prompts are longer than the 10 tokens that the policies' positions leave (the longest has 11, "
        "the first is at index 1); lower rollout.max_new_tokens, shorten them, or set overlong=drop"
    )
    kept = cast(Subset[Example], PromptFormat(overlong="drop").select(lengths(5, 11, 10), tokenizer, "train", room=10))
    assert [kept[n] for n in range(len(kept))] == lengths(5, 10)
