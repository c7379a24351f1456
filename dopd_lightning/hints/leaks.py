"""Checks that a hint does not give away the final answer, or results on the way to it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from fractions import Fraction

from dopd_lightning.data import Example, extract_answer
from dopd_lightning.data.written_numbers import NUMBER, value_of
from dopd_lightning.hints.question import answer_of, question_of
from dopd_lightning.hints.reason import Reason
from dopd_lightning.hints.stated_numbers import (
    fractions_in,
    given_numbers,
    in_ascii,
    numbers_in,
    spelled_numbers,
    without_labels,
)

COMMON_NUMBERS = (0, 1, 2, 3, 10, 100)
"""Numbers that a hint may use even if the question does not: halves and pairs, percents, powers of ten."""

_LARGEST_IN_WORDS = 12
"""Largest number in words that counts as no result ("split it into two parts"); a larger number is a result."""

_LARGEST_ANSWER_IN_WORDS = 3
"""The same limit for a number that equals the final answer: above it, coincidence is rare."""

_STATED = re.compile(
    r"\b(?:answer|final result|option|choice)\s*(?:is|equals|=|:)\s*(?:(?:therefore|thus|hence|then|so|simply|now)\s+)?"
    r"(?P<answer>[^\n]{1,200})",
    re.IGNORECASE,
)
_UNIT = re.compile(r"\s*(?:[%°]|\\%|\s[^\W\d_][\w°²³/.\s%€£$]*|[^\W\d_]{2,}[\w²³/]*)?\s*[.]?")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_MARKUP = re.compile(r"\\(?:left|right|displaystyle|[,;:! ])|\\text\s*\{([^{}]*)\}|[$`]|\*\*|\{,\}")
_FORMULA = re.compile(r"[\\^+*/=(){}\[\]<>]")
_NAMED = re.compile(r"^\s*[^\W\d_]\s*=\s*")
_QUOTES = " (:*\"'"
_TOO_COMMON = ("yes", "no", "true", "false", "none")

# For the output of _arithmetic: without spaces around signs, only one part of the pattern can match each character, so
# that the search takes linear time. Results follow "=".
_OPERAND = r"\(*[$£€]?\d[\d,.]*%?\)*"
_EXECUTED = re.compile(rf"(?<![\d.,]){_OPERAND}(?:[-+*/×÷·^]{_OPERAND})+[=≈]-?[$£€]?\.?\d[\d,.]*")


def answer_leaked(hint: str, example: Example) -> Reason | None:
    """Return a reason if the hint contains the final answer, and the question does not.

    Numbers are compared by value, other answers as whole words. ``12`` is not a leak if the question is
    ``12 + 34 - 5``, and ``yes``, ``no`` or ``B`` never is, unless the hint calls it the answer.
    """
    answer = answer_of(example)
    if answer is None:
        return None
    plain, question = _plain(hint), _plain(question_of(example))
    stated = [*(match["answer"] for match in _STATED.finditer(plain)), *_marked(plain)]
    value = _as_number(_plain(answer))
    if value is not None:
        given = given_numbers(question)
        still_to_do = set() if "/" in _plain(answer) else given
        found = any(_begins_with(text, value) for text in stated)
        if not found and value not in given:
            found = value in _values(plain) or value in _shares(plain, still_to_do)
    else:
        found = any(_contains(text, answer, at_start=True) for text in stated)
        if not found and not _is_too_common(answer):
            found = _contains(plain, answer) and not _contains(question, answer)
    return Reason("answer_leaked", f"it contains the final answer, {answer!r:.80}") if found else None


def execution_leaked(
    hint: str, example: Example, *, allowed_numbers: Collection[float] = COMMON_NUMBERS
) -> Reason | None:
    """Return a reason if the hint contains results: executed calculations, or numbers that the question does not give.

    Numbers of steps, ordinals, ``allowed_numbers`` and numbers that the question gives in words are not results.
    """
    plain, question = _plain(hint), _plain(question_of(example))
    in_question = _arithmetic(question)
    executed = [text.rstrip(".,") for text in _EXECUTED.findall(_arithmetic(plain))]
    executed = [text for text in executed if text not in in_question]
    given = given_numbers(question) | {Fraction(str(number)) for number in allowed_numbers}
    text = without_labels(plain)
    foreign = [number.text for number in numbers_in(text) if number.value not in given]
    foreign += [
        number.text
        for number in spelled_numbers(text)
        if number.value not in given and number.value > _LARGEST_IN_WORDS
    ]
    found = [f"it calculates {text}" for text in executed[:3]]
    if foreign:
        found.append(f"it has {_listed(foreign)}, which the question does not give")
    return Reason("execution_leaked", "; ".join(found)) if found else None


def _values(text: str) -> set[Fraction]:
    labelless = without_labels(text)
    spelled = {number.value for number in spelled_numbers(labelless) if number.value > _LARGEST_ANSWER_IN_WORDS}
    return {number.value for number in numbers_in(labelless)} | spelled


def _shares(text: str, given: Collection[Fraction]) -> set[Fraction]:
    """Return values of fractions that are not whole; a fraction of two given numbers is a division still to be done."""
    parts = {number.value: {part.value for part in numbers_in(number.text)} for number in fractions_in(text)}
    return {value for value, of in parts.items() if value.denominator > 1 and not of <= set(given)}


def _begins_with(text: str, value: Fraction) -> bool:
    """Return whether the text begins with this number: ``x = 12 dollars``, not ``found by adding 12``."""
    text = _NAMED.sub("", text.lstrip(_QUOTES))
    match = NUMBER.match(text.replace("\N{MINUS SIGN}", "-"))
    if match is not None:
        found = value_of(match)
        return found is not None and abs(found) == value
    return any(number.value == value and text.startswith(number.text) for number in spelled_numbers(text))


def _as_number(answer: str) -> Fraction | None:
    """Return the value of an answer that is one number, perhaps with a currency sign or a unit; otherwise ``None``."""
    answer = _NAMED.sub("", answer.replace("\N{MINUS SIGN}", "-"))
    match = NUMBER.search(answer)
    if match is None or re.search(r"\w", answer[: match.start()]) or not _UNIT.fullmatch(answer, match.end()):
        return None
    value = value_of(match)
    return None if value is None else abs(value)


def _marked(text: str) -> list[str]:
    marked = extract_answer(text)
    return [] if marked == text.strip() else [marked]


def _plain(text: str) -> str:
    """Remove LaTeX markup and write numbers in ASCII, for comparison."""
    text = in_ascii(text)
    text = _FRACTION.sub(r"\1/\2", text)
    return _MARKUP.sub(lambda match: match[1] or "", text)


def _arithmetic(text: str) -> str:
    """Unify signs, and remove the spaces around them: ``12 x 34`` and ``12 \\times 34`` are ``12×34``."""
    text = " ".join(text.replace("\N{MINUS SIGN}", "-").split())
    text = re.sub(r"(?<=[\d)]) [xX] (?=[\d($£€])| ?\\(?:times|cdot) ?", "×", text)
    text = text.replace(r"\div", "÷").replace(r"\approx", "≈")
    return re.sub(r" ?([-+*/×÷·^=≈()]) ?", r"\1", text)


def _squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def _contains(text: str, wanted: str, at_start: bool = False) -> bool:
    """Search whole words, ignoring case unless the answer is a single letter, and ignoring spaces in formulas."""
    wanted = " ".join(_plain(wanted).split()).strip(" .")
    if not wanted:
        return False
    if _FORMULA.search(wanted):
        pattern = r"\s*".join(map(re.escape, _squeezed(wanted)))
    else:
        pattern = r"\s+".join(map(re.escape, wanted.split()))
    before = r"(?<!\w)" if wanted[0].isalnum() else ""
    after = r"(?!\w)" if wanted[-1].isalnum() else ""
    found = re.compile(f"{before}{pattern}{after}", re.IGNORECASE if len(wanted) > 1 else 0)
    return (found.match(text.lstrip(_QUOTES)) if at_start else found.search(text)) is not None


def _is_too_common(answer: str) -> bool:
    answer = answer.strip(" .")
    return len(answer) == 1 or answer.casefold() in _TOO_COMMON


def _listed(numbers: Sequence[str]) -> str:
    shown = list(dict.fromkeys(numbers))
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return ", ".join(shown[:5]) + more
