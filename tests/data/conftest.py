"""A byte-level tokenizer with a small chat template: every token is one byte, so lengths can be counted by eye."""

from __future__ import annotations

from typing import Protocol

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>")

CHAT_TEMPLATE = """\
{%- for m in messages -%}
{%- if m.role == 'function' -%}{{ raise_exception('no functions here') }}{%- endif -%}
<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant: {% if enable_thinking is false -%}(no thinking){%- endif -%}
{%- endif -%}"""


class MakeTokenizer(Protocol):
    def __call__(self, *, post: str | None = None, chat_template: str | None = ...) -> PreTrainedTokenizerFast: ...


@pytest.fixture(scope="session")
def make_tokenizer() -> MakeTokenizer:
    """Build a tokenizer; ``post`` says which special tokens it puts around plain text (``$A`` is the text)."""

    def make(*, post: str | None = None, chat_template: str | None = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
        vocabulary = {token: n for n, token in enumerate([*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
        bytes_ = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
        bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bytes_.decoder = decoders.ByteLevel()
        if post:
            bytes_.post_processor = processors.TemplateProcessing(
                single=post, special_tokens=[(token, vocabulary[token]) for token in SPECIALS]
            )
        tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=bytes_,
            bos_token="<s>",
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            additional_special_tokens=["<|im_start|>"],
        )
        tokenizer.chat_template = chat_template
        return tokenizer

    return make


@pytest.fixture(scope="session")
def tokenizer(make_tokenizer: MakeTokenizer) -> PreTrainedTokenizerFast:
    return make_tokenizer()
