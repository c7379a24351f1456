"""``gsm_symbolic``: grade-school word problems of several steps, from 85 templates.

reasoning-gym's worked answers have the many styles of the templates: equations between words, bullets under headings,
``3*4=12`` or ``3 clams x 4 = 12 clams``. This module turns them into one line per step, and makes the hints from these.
"""

from __future__ import annotations

import re
from decimal import Decimal

from dopd_lightning.data.tasks.task import Entry, Task, final_answer

_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_AMOUNT = rf"-?[$£€]?(?:{_NUMBER.pattern})(?:/\d+)?%?"

# Results such as "= 12 minutes", unless the calculation goes on ("= 12 - 3"). If a unit stands before the "=", as in
# "3 clams x 4 = 12 clams", the unit of the result belongs to the match. The group is atomic: otherwise "= 12 - 3" would
# match as "= 1".
_UNIT = r"(?:/\w+| (?!of\b)[a-z]+(?:/[a-z]+)?)?"
_GOES_ON = r"(?!\s*(?:[-+*(]|x\s|/\s*\d))"
_RESULT = re.compile(rf"(?:(?<=[A-Za-z])\s*=\s*(?>({_AMOUNT})){_GOES_ON}{_UNIT}|\s*=\s*(?>({_AMOUNT})){_GOES_ON})")

_OPERATIONS = {
    "addition": re.compile(r"\+"),
    "subtraction": re.compile(r"\s-\s|\d-\d"),
    "multiplication": re.compile(r"\*|\sx\s+[$£€]?\d|\d\("),
    "division": re.compile(r"/\s*\(?[$£€]?\d"),
}
_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def _lines(entry: Entry) -> list[str]:
    """Return the worked answer, one line per step, without headings, bullets, blank lines and ``#### n``."""
    lines = []
    for raw in entry["metadata"]["answer_cot"].splitlines():
        line = (
            re.sub(r"\s*÷\s*(\d+/\d+)", r" / (\1)", raw.strip())
            .replace("÷", "/")
            .replace("\N{MULTIPLICATION SIGN}", "x")
        )
        line = re.sub(r"\d+\.\d+", _short, re.sub(r"^[-•]\s*", "", line))
        if line and not line.endswith(":") and not line.startswith("####"):
            lines.append(line)
    return lines


def _short(number: re.Match[str]) -> str:
    """Shorten ``18.0`` to ``18`` and ``0.6666666666666666`` to ``0.6667``; amounts of money keep two decimals."""
    text = number.group()
    return text if re.fullmatch(r"\d+\.\d\d", text) else f"{float(text):.4f}".rstrip("0").rstrip(".")


def _value(number: str) -> Decimal:
    return Decimal(number.replace(",", ""))


def _numbered(lines: list[str]) -> str:
    return " ".join(f"Step {n}: {line.removesuffix('.')}." for n, line in enumerate(lines, start=1))


def _without_results(line: str) -> str:
    """Remove results: ``so 3*4=12 are left`` -> ``so 3*4 are left``. Definitions (``Sarah = 12 points``) stay."""
    kept, position, clause = [], 0, 0
    for result in _RESULT.finditer(line):
        if re.search(r"\d", line[clause : result.start()]):
            kept.append(line[position : result.start()])
            position = result.end()
        clause = result.end()
    return "".join([*kept, line[position:]])


def solution(entry: Entry) -> str:
    """Return the reasoning, one step per line, then the answer."""
    return "\n".join([*_lines(entry), final_answer(entry["answer"])])


def steps_executed(entry: Entry) -> str:
    """Return the steps with results: ``Step 1: His cousin has 9 - 3 = 6 toys. Step 2: They have 9 + 6 = 15 toys.``"""
    return _numbered(_lines(entry))


def steps(entry: Entry) -> str:
    """Return the steps without results: ``Step 1: His cousin has 9 - 3 toys. Step 2: Together, they have 9 + ? toys.``

    Every other number that the question does not contain becomes ``?``, so that the hint has only numbers of the
    question.
    """
    given = {_value(number) for number in _NUMBER.findall(re.sub(r"\d+\.\d+", _short, entry["question"]))}
    lines = _lines(entry)
    # A fraction is one result, even if its numerator and denominator are numbers of the question ("1/4" from 1 and 4).
    results = {first or second for line in lines for first, second in _RESULT.findall(line)}
    fractions = [result for result in results if "/" in result and result not in entry["question"]]

    def masked(line: str) -> str:
        line = _without_results(line)
        for fraction in fractions:
            line = re.sub(rf"(?<!\d){re.escape(fraction)}(?!\d)", "?", line)
        return _NUMBER.sub(lambda number: number.group() if _value(number.group()) in given else "?", line)

    return _numbered([masked(line) for line in lines])


def summary(entry: Entry) -> str:
    """Return the number of steps and their operations: ``Work in two steps, with addition and subtraction.``"""
    lines = _lines(entry)
    count = f"{_COUNTS[len(lines)]} step{'s' if len(lines) > 1 else ''}"
    found = [name for name, sign in _OPERATIONS.items() if any(sign.search(line) for line in lines)]
    operations = " and ".join([*([", ".join(found[:-1])] if found[:-1] else []), *found[-1:]])
    return f"Work in {count}, with {operations}."


GSM_SYMBOLIC = Task("gsm_symbolic", solution, steps_executed, steps, summary)
