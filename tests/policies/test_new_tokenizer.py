from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from dopd_lightning.policies import new_tokenizer

TOKENIZER = new_tokenizer(["12 + 34 = 46", "12 + 35 = 47"], vocabulary_size=300)


@given(st.text())
def test_any_text_comes_back(text):
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert TOKENIZER.decode(ids, clean_up_tokenization_spaces=False) == text


def test_every_digit_is_a_token():
    assert TOKENIZER.tokenize("12 34") == ["1", "2", "Ġ3", "4"]


def test_ends_and_padding_are_two_tokens_and_answer_tags_one_each():
    assert TOKENIZER.eos_token == "<|im_end|>"
    assert TOKENIZER.pad_token == "<|endoftext|>"
    ids = TOKENIZER.encode("<answer>7</answer><|im_end|>")
    assert len(ids) == 4
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "<answer>7</answer>"


def test_chat_template():
    text = TOKENIZER.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_saved_and_loaded_it_is_the_same(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == TOKENIZER.get_vocab()
    assert loaded.encode("1 <answer>é") == TOKENIZER.encode("1 <answer>é")
    assert loaded.chat_template == TOKENIZER.chat_template
