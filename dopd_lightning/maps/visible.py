"""Tokens as people can see them: nothing invisible, nothing that disturbs what stands around it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

LONGEST = 48
"""Characters that are shown of a token."""

SPACE, CONTINUED, MARK_BEARER = "␣", "⋯", "◌"
SIGNS = {chr(code): chr(0x2400 + code) for code in range(0x20)} | {" ": SPACE, "\n": "↵", "\t": "⇥", "\x7f": "␡"}

MARKS_IN_A_ROW = 3
"""More combining marks on one character would run into the lines above and below."""

PLAIN = re.compile(r"[!-~]*")
"""Characters that are readable as they are."""

BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Letters, marks and signs that have no ink: fillers, joiners, variation selectors."""


class Shown(NamedTuple):
    """A token in its response.

    Attributes:
        text: what stands in the text.
        note: what it is a part of, if it is no text by itself, else empty.
    """

    text: str
    note: str = ""


class _Stretch(NamedTuple):
    """Bytes ``start`` to ``end`` that are one character, or one byte that is part of none."""

    start: int
    end: int
    character: str | None


def shown_alone(piece: bytes) -> str:
    r"""A token by itself, without its neighbours: bytes that are no whole character stand as ``\xf0\x9f``.

    Of a token longer than `LONGEST` characters the beginning stands, and how many characters it has.

    Example:
        >>> shown_alone(" tab\\t".encode()), shown_alone("é".encode()[:1])
        ('␣tab\\t', '\\xc3')
    """
    return _cut(_text(stretch, piece) for stretch in _stretches(piece))


def shown(pieces: Sequence[bytes]) -> list[Shown]:
    """Each token of a sequence: of several that make one character the first shows it, the others `CONTINUED`.

    Example:
        >>> [each.text for each in shown(["a".encode(), "é".encode()[:1], "é".encode()[1:]])]
        ['a', 'é', '⋯']
    """
    result = [Shown("") for _ in pieces]
    begin = 0
    while begin < len(pieces):
        end = begin + 1
        if is_text(pieces[begin]):
            result[begin] = Shown(shown_alone(pieces[begin]))
        else:  # a character that is spread over tokens leaves none of them a text
            while end < len(pieces) and not is_text(pieces[end]):
                end += 1
            result[begin:end] = _shown_together(pieces[begin:end])
        begin = end
    return result


def is_text(piece: bytes) -> bool:
    """Return whether the bytes are whole characters."""
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


def readable(text: str) -> str:
    """A text of several lines: line ends, tabs and spaces as they are, whatever else is invisible made visible.

    Example:
        >>> print(readable("a" + chr(0x200B) + "b"))
        a<U+200B>b
    """
    return _visible(text.replace("\r\n", "\n"), kept="\n\t ")


def _shown_together(pieces: Sequence[bytes]) -> Iterator[Shown]:
    data = b"".join(pieces)
    stretches = _stretches(data)
    first = start = 0
    for piece in pieces:
        end = start + len(piece)
        texts, notes = [], []
        while first < len(stretches) and stretches[first].end <= start:
            first += 1
        for stretch in stretches[first:]:
            if stretch.start >= end:
                break
            texts.append(_text(stretch, data) if stretch.start >= start else CONTINUED)
            if stretch.start < start or stretch.end > end:
                notes.append(_part(stretch, start, end))
        yield Shown(_cut(iter(texts)), "; ".join(notes))
        start = end


def _part(stretch: _Stretch, start: int, end: int) -> str:
    begins, ends = max(start - stretch.start, 0) + 1, min(end, stretch.end) - stretch.start
    which = f"byte {begins}" if begins == ends else f"bytes {begins}–{ends}"
    return f"{which} of the {stretch.end - stretch.start} of {_visible(stretch.character or '')}"


def _stretches(data: bytes) -> list[_Stretch]:
    stretches: list[_Stretch] = []
    at = 0
    while at < len(data):
        try:
            good = data[at:].decode()
            bad_from = bad_to = len(data)
        except UnicodeDecodeError as error:
            good = data[at : at + error.start].decode()
            bad_from, bad_to = at + error.start, at + error.end
        for character in good:
            length = len(character.encode())
            stretches.append(_Stretch(at, at + length, character))
            at += length
        stretches += [_Stretch(byte, byte + 1, None) for byte in range(bad_from, bad_to)]
        at = bad_to
    return stretches


def _text(stretch: _Stretch, data: bytes) -> str:
    return rf"\x{data[stretch.start]:02x}" if stretch.character is None else stretch.character


def _cut(texts: Iterator[str]) -> str:
    """Join what is shown of characters and bytes, up to `LONGEST` of them."""
    parts = list(texts)
    text = _visible("".join(parts[:LONGEST]))
    return text if len(parts) <= LONGEST else f"{text}… ({len(parts):,} characters)"


def _visible(text: str, kept: str = "") -> str:
    if PLAIN.fullmatch(text):
        return text
    result, marks = [], 0
    for index, character in enumerate(text):
        category = unicodedata.category(character)
        marks = marks + 1 if category.startswith("M") else 0
        if character in kept:
            result.append(character)
        elif character in SIGNS:
            result.append(SIGNS[character])
        elif category[0] in "CZ" or BLANK.match(character) or marks > MARKS_IN_A_ROW:
            result.append(f"<U+{ord(character):04X}>")
        elif marks and index == 0:
            result.append(MARK_BEARER + character)
        else:
            result.append(character)
    return "".join(result)
