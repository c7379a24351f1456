"""Placeholder tokens for images, videos or audio, which a text model never learned to read."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from dopd_lightning.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MEDIA = re.compile(r"image|img|video|vision|audio", re.IGNORECASE)


def check_no_placeholder(text: str, tokenizer: PreTrainedTokenizerBase, what: str) -> None:
    """Raise DataError if a text contains a placeholder token.

    Args:
        text: text to tokenize.
        tokenizer: tokenizer whose special tokens are searched for placeholders, by their names.
        what: name of the text in the error.

    Raises:
        DataError: naming the token.
    """
    found = next((token for token in _placeholders(tokenizer) if token in text), None)
    if found is not None:
        raise DataError(
            f"{what}: it contains {found!r}, this tokenizer's placeholder for an image, a video or audio, and models "
            "here read only text; leave it out"
        )


@lru_cache(maxsize=8)
def _placeholders(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    special = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return tuple(token for token in special if _MEDIA.search(token))
