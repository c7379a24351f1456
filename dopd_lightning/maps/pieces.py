"""The bytes that a token stands for, whatever the tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, cast

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

WORD_START = "▁"
"""Sign that SentencePiece writes for a space."""


def token_pieces(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> dict[int, bytes]:
    """The bytes of each token, as they stand in a text; a character may be spread over several tokens.

    Args:
        tokenizer: byte-level, SentencePiece with or without byte fallback, WordPiece, or BPE with a suffix.
        ids: token ids. One that the tokenizer does not have (a padded row of the model's) is ``<id 151999>``.

    Example:
        >>> from dopd_lightning.policies import new_tokenizer
        >>> tokenizer = new_tokenizer(["1 + 1 = 2"])
        >>> [*token_pieces(tokenizer, tokenizer.encode("é")).values()]
        [b'\\xc3', b'\\xa9']
    """
    wanted = list(dict.fromkeys(map(int, ids)))
    added = {token: str(entry) for token, entry in tokenizer.added_tokens_decoder.items()}
    known = [token for token in wanted if token not in added and 0 <= token < len(tokenizer)]
    written = dict(zip(known, cast("Sequence[str | None]", tokenizer.convert_ids_to_tokens(known)), strict=True))
    to_bytes = _reader(tokenizer)
    pieces = {}
    for token in wanted:
        if token in added:
            pieces[token] = _utf8(added[token])
        elif (text := written.get(token)) is not None:
            pieces[token] = to_bytes(text)
        else:
            pieces[token] = b"<id %d>" % token
    return pieces


def _reader(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], bytes]:
    """Return the reader of this tokenizer's vocabulary entries, chosen by its decoder if it has one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return _byte_level if hasattr(tokenizer, "byte_decoder") else _sentencepiece(WORD_START)
    for step in _steps(json.loads(backend.decoder.__getstate__()) if backend.decoder is not None else {}):
        match step:
            case {"type": "ByteLevel"}:
                return _byte_level
            case {"type": "WordPiece", "prefix": prefix}:
                return lambda text: _utf8(text.removeprefix(prefix) if text.startswith(prefix) else f" {text}")
            case {"type": "BPEDecoder", "suffix": suffix}:
                return lambda text: _utf8(f"{text.removesuffix(suffix)} " if text.endswith(suffix) else text)
            case {"type": "Metaspace", "replacement": space} | {"type": "Replace", "pattern": {"String": space}}:
                return _sentencepiece(space)
            case {"type": "ByteFallback"}:
                return _sentencepiece(WORD_START)
    return _utf8


def _steps(decoder: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return cast("Sequence[Mapping[str, Any]]", decoder["decoders"]) if "decoders" in decoder else [decoder]


def _byte_level(text: str) -> bytes:
    alphabet = _byte_alphabet()
    return b"".join(alphabet.get(character) or _utf8(character) for character in text)


@cache
def _byte_alphabet() -> dict[str, bytes]:
    """GPT-2's: a printable character for each byte."""
    characters = bytes_to_unicode()  # type: ignore[no-untyped-call]
    return {character: bytes([byte]) for byte, character in cast("dict[int, str]", characters).items()}


def _sentencepiece(space: str) -> Callable[[str], bytes]:
    def to_bytes(text: str) -> bytes:
        if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            try:
                return bytes.fromhex(text[3:5])
            except ValueError:
                pass  # a token that only looks like a byte
        return _utf8(text.replace(space, " "))

    return to_bytes


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
