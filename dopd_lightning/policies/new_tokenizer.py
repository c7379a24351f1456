"""A small tokenizer learned from text, for policies that are made from nothing."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dopd_lightning.errors import check_range

_PAD, _START, _END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

_ANSWER_TAGS = ("<answer>", "</answer>")
_SMALLEST = 256 + len((_PAD, _START, _END, *_ANSWER_TAGS))

# ChatML, the markup of the Qwen family, without its tools and thinking.
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def new_tokenizer(texts: Iterable[str], vocabulary_size: int = 384) -> PreTrainedTokenizerBase:
    """Byte-level BPE in which every digit is a token, with or without the space before it, and a ChatML template.

    Digits of their own let a small model learn arithmetic column by column; all 256 bytes are in the vocabulary, so
    any text can be encoded.

    Args:
        texts: what to learn the merges from.
        vocabulary_size: number of tokens, special ones included; at least the 256 bytes and those.

    Raises:
        ConfigError: for a smaller one.

    Example:
        >>> tokenizer = new_tokenizer(["12 + 34 = 46"] * 10, vocabulary_size=270)
        >>> tokenizer.tokenize("12 + 3")
        ['1', '2', 'Ġ+', 'Ġ3']
    """
    check_range("vocabulary_size", vocabulary_size, at_least=_SMALLEST)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - len(_ANSWER_TAGS),
        special_tokens=[_PAD, _START, _END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_tokens([AddedToken(tag, normalized=False) for tag in _ANSWER_TAGS])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=_END, pad_token=_PAD)  # type: ignore[no-untyped-call]
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer
