"""Numbers in questions and hints, as values: ``1,000``, ``1000.0`` and ``one thousand`` are equal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from dopd_lightning.data.written_numbers import NUMBER, value_of


class Number(NamedTuple):
    """Number with its text. Signs are ignored: ``-5`` gives away a 5, and ``12 -5`` subtracts a 5."""

    text: str
    value: Fraction


# Labels: the number of a step, or a reference to one ("Step 4", "steps 2 and 3", "第3步"), but not "in this step 4 are
# left"; the number of an item in a list; a count of operations; an ordinal.
_STEP = re.compile(
    r"(?P<determiner>\b(?:this|that|each|every|last|next|final|per|which)\s+)?"
    r"(?:\b(?:steps?|parts?|hints?|schritte?n?|[ée]tapes?|etapas?|pasos?|pass[oi]s?|stap(?:pen)?|krok\w*|шаг\w*)\s*"
    r"|第|步骤\s*|ステップ\s*)"
    r"#?(?P<number>\d{1,2})(?:(?:[-–]|\s+(?:and|und|et|y|e|to)\s+|\s*&\s*|[和、])\d{1,2})?(?![\d.,]*\d)",
    re.IGNORECASE,
)
_ITEM = re.compile(
    r"(?:(?:^|(?<=\s))\(?(?P<inner>\d{1,2})\)|(?:^|(?<=\n))[\s>*#•-]*(?P<first>\d{1,2})[.:、](?!\d))"
    r"(?=[^\S\n]*[^\s*_])"  # text follows
)
_MOST_STEPS = 20  # a larger number is more likely a result than a step
_COUNT = re.compile(
    r"\b\d{1,2}(?=\s+(?:addition|subtraction|multiplication|division|operation|equation)s?\b)", re.IGNORECASE
)
_ORDINAL = re.compile(r"\b\d{1,2}(?:st|nd|rd|th)\b", re.IGNORECASE)

_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen
"""
_TIMES_TEN = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SMALL = {word: n for n, word in enumerate(_ONES.split())}
_TENS = {word: 10 * n for n, word in enumerate(_TIMES_TEN, start=2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_OTHERS = {
    "half": Fraction(1, 2),
    "third": Fraction(1, 3),
    "quarter": Fraction(1, 4),
    **dict.fromkeys(("once", "single"), Fraction(1)),
    **dict.fromkeys(("twice", "double", "doubled", "pair", "both", "halves"), Fraction(2)),
    **dict.fromkeys(("thrice", "triple", "tripled", "thirds"), Fraction(3)),
    **dict.fromkeys(("quadruple", "quarters"), Fraction(4)),
    "dozen": Fraction(12),
}
_WORD = "|".join([*_SMALL, *_TENS, *_SCALES])
# "two hundred and five", "three thousand four hundred"; "twenty and thirty" are two numbers.
_BELOW_100 = rf"(?:(?:{'|'.join(_TENS)})(?:[\s-]+(?:{'|'.join(list(_SMALL)[1:10])}))?|{'|'.join(_SMALL)})\b"
_BELOW_1000 = rf"(?:(?:{_BELOW_100}[\s-]+)?hundred\b(?:\s+(?:and\s+)?{_BELOW_100})?|{_BELOW_100})"
_SCALED = rf"(?:{_BELOW_1000}[\s-]+)?(?:thousand|million|billion)\b"
_WORDS = re.compile(
    rf"\b(?:{_SCALED}(?:,?\s+(?:and\s+)?{_SCALED})*(?:,?\s+(?:and\s+)?{_BELOW_1000})?|{_BELOW_1000})", re.IGNORECASE
)

# A number after such a character is part of a name: x1, a_2, H2O. Amounts of money (Rs5) are not names.
_NAME = re.compile(r"[A-Za-zα-ωΑ-Ω_]")
_CURRENCY = re.compile(r"(?:\b|(?<=\d))(?:Rs|USD|EUR|GBP|INR|CNY|JPY)$")


def in_ascii(text: str) -> str:
    """Return the text with its numbers in ASCII: ``４６`` and ``٤٦`` become 46, ``1½`` becomes ``1 1/2``."""
    return re.sub(r"[^\x00-\x7f]", _in_ascii, text)


def _in_ascii(match: re.Match[str]) -> str:
    character = match[0]
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if unicodedata.decomposition(character).startswith("<fraction>"):
        fraction = unicodedata.normalize("NFKC", character).replace("\N{FRACTION SLASH}", "/")
        before = match.string[max(match.start() - 1, 0) : match.start()]
        return f" {fraction}" if before.isalnum() else fraction
    if "！" <= character <= "～":  # full width
        return unicodedata.normalize("NFKC", character)
    return character


def without_labels(text: str) -> str:
    """Remove numbers that only count steps or items: ``Step 4: add the 3rd`` -> `` : add the  ``.

    Items of a list are numbered from one, and text follows each number; other ``(46)`` and ``46.`` are results.
    """
    text = _STEP.sub(lambda step: step[0] if step["determiner"] or int(step["number"]) > _MOST_STEPS else " ", text)
    for label in (_COUNT, _ORDINAL):
        text = label.sub(" ", text)
    due = 1

    def without(item: re.Match[str]) -> str:
        nonlocal due
        number = int(item["inner"] or item["first"])
        if number not in (1, due):
            return item[0]
        due = number + 1
        return " "

    return _ITEM.sub(without, text)


def numbers_in(text: str) -> Iterator[Number]:
    """Yield numbers in digits, both of ``12/3``, a fraction or a division, but none of names (``x1``, ``H2O``)."""
    text = text.replace("\N{MINUS SIGN}", "-")
    for match in NUMBER.finditer(text):
        start = match.start("number")
        in_a_name = start > 0 and _NAME.match(text[start - 1]) and not _CURRENCY.search(text[max(start - 4, 0) : start])
        value = value_of(match)
        if in_a_name or value is None:
            continue
        if match["denominator"] is None:
            yield Number(match.group().lstrip("+-"), abs(value))
        else:
            denominator = Fraction(int(match["denominator"]))
            yield Number(match["number"], abs(value * denominator))
            yield Number(match["denominator"], denominator)


def fractions_in(text: str) -> Iterator[Number]:
    """Yield numbers that are written as fractions, such as ``3/4``, each as one value."""
    for match in NUMBER.finditer(text):
        value = value_of(match)
        if match["denominator"] is not None and value is not None:
            yield Number(match.group(), abs(value))


def spelled_numbers(text: str) -> Iterator[Number]:
    """Yield numbers in English words: ``forty-six``, ``two hundred and five``."""
    for match in _WORDS.finditer(text):
        total = group = 0
        for word in re.findall(_WORD, match.group().lower()):
            if word == "hundred":
                group = (group or 1) * 100
            elif word in _SCALES:
                total, group = total + (group or 1) * _SCALES[word], 0
            else:
                group += _SMALL.get(word, 0) + _TENS.get(word, 0)
        yield Number(match.group(), Fraction(total + group))


def given_numbers(question: str) -> set[Fraction]:
    """Return all values in a question: in digits, in words (``twice``, ``a dozen``), and as percentages."""
    given = {number.value for number in (*numbers_in(question), *fractions_in(question), *spelled_numbers(question))}
    given |= {value for word, value in _OTHERS.items() if re.search(rf"\b{word}\b", question, re.IGNORECASE)}
    for percent in re.finditer(r"(\d+(?:\.\d+)?)\s*(?:%|\\%|percent\b)", question):
        given.add(Fraction(percent[1]) / 100)
    return given
