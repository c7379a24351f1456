"""Training of small tokenizers, for policies that are trained from scratch."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dopd_lightning.errors import check_range

_PAD, _START, _END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

_ANSWER_TAGS = ("<answer>", "</answer>")
_SMALLEST = 256 + len((_PAD, _START, _END, *_ANSWER_TAGS))

# ChatML, the format of the Qwen family, without tools and thinking.
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def new_tokenizer(texts: Iterable[str], vocabulary_size: int = 384) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE tokenizer with one token per digit and a ChatML template.

    A digit is one token together with the space before it, if there is one: a small model can then learn arithmetic
    column by column. All 256 bytes are in the vocabulary, so that any text can be encoded.

    Args:
        texts: texts from which the merges are learned.
        vocabulary_size: number of tokens, including the 256 bytes and 5 special tokens.

    Raises:
        ConfigError: if the size is below 261.

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
