"""Tokens that stand for a picture, a video or a sound, which a model of text never learned to read."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from dopd_lightning.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NAMED_SO = re.compile(r"image|img|video|vision|audio", re.IGNORECASE)


def check_no_placeholder(text: str, tokenizer: PreTrainedTokenizerBase, what: str) -> None:
    """Refuse text that spells such a token.

    Args:
        text: to be tokenized.
        tokenizer: by whose special tokens, and their names, they are known.
        what: name of the text in the error.

    Raises:
        DataError: naming the token.
    """
    found = next((token for token in _placeholders(tokenizer) if token in text), None)
    if found is not None:
        raise DataError(
            f"{what}: it has {found!r}, which stands for a picture, a video or a sound to this tokenizer, and models "
            "here read text alone; leave it out"
        )


@lru_cache(maxsize=8)
def _placeholders(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    special = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return tuple(token for token in special if _NAMED_SO.search(token))
