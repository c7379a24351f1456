"""``gsm_symbolic``: grade-school word problems of several steps, from 85 templates.

reasoning-gym gives each problem a worked answer, in the templates' many styles: equations between words, bullets
under headings, ``3*4=12`` or ``3 clams x 4 = 12 clams``. Here it becomes one line a step, and the hints come from them.
"""

from __future__ import annotations

import re
from decimal import Decimal

from dopd_lightning.data.tasks.task import Entry, Task, final_answer

_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_AMOUNT = rf"-?[$£€]?(?:{_NUMBER.pattern})(?:/\d+)?%?"

# "= 12 minutes", unless the calculation goes on ("= 12 - 3"). After a unit ("3 clams x 4 = 12 clams") the result's unit
# goes too. The group is atomic, or "= 12 - 3" would be read as "= 1" with something harmless behind it.
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
    """The worked answer as one line a step: no headings, bullets or blank lines, no ``#### n``, plain operators."""
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
    """``18.0`` -> ``18`` and ``0.6666666666666666`` -> ``0.6667``, while amounts of money keep their two decimals."""
    text = number.group()
    return text if re.fullmatch(r"\d+\.\d\d", text) else f"{float(text):.4f}".rstrip("0").rstrip(".")


def _value(number: str) -> Decimal:
    return Decimal(number.replace(",", ""))


def _numbered(lines: list[str]) -> str:
    return " ".join(f"Step {n}: {line.removesuffix('.')}." for n, line in enumerate(lines, start=1))


def _without_results(line: str) -> str:
    """``so 3*4=12 are left`` -> ``so 3*4 are left``; a definition (``Sarah = 12 points``) is no result and stays."""
    kept, position, clause = [], 0, 0
    for result in _RESULT.finditer(line):
        if re.search(r"\d", line[clause : result.start()]):
            kept.append(line[position : result.start()])
            position = result.end()
        clause = result.end()
    return "".join([*kept, line[position:]])


def solution(entry: Entry) -> str:
    """The reasoning, one step a line, then the answer."""
    return "\n".join([*_lines(entry), final_answer(entry["answer"])])


def steps_executed(entry: Entry) -> str:
    """``Step 1: His cousin has 9 - 3 = 6 toys. Step 2: Together, they have 9 + 6 = 15 toys.``"""
    return _numbered(_lines(entry))


def steps(entry: Entry) -> str:
    """``Step 1: His cousin has 9 - 3 toys. Step 2: Together, they have 9 + ? toys.``

    Results are left out, and so is every other number that the question does not contain (``?``): the numbers that are
    left tell nothing that the question did not.
    """
    given = {_value(number) for number in _NUMBER.findall(re.sub(r"\d+\.\d+", _short, entry["question"]))}
    lines = _lines(entry)
    # A fraction is one result, even where the question has its numerator and its denominator ("1/4" from a 1 and a 4).
    results = {first or second for line in lines for first, second in _RESULT.findall(line)}
    fractions = [result for result in results if "/" in result and result not in entry["question"]]

    def masked(line: str) -> str:
        line = _without_results(line)
        for fraction in fractions:
            line = re.sub(rf"(?<!\d){re.escape(fraction)}(?!\d)", "?", line)
        return _NUMBER.sub(lambda number: number.group() if _value(number.group()) in given else "?", line)

    return _numbered([masked(line) for line in lines])


def summary(entry: Entry) -> str:
    """``Work in two steps, with addition and subtraction.``: how many steps, which operations, no number at all."""
    lines = _lines(entry)
    count = f"{_COUNTS[len(lines)]} step{'s' if len(lines) > 1 else ''}"
    found = [name for name, sign in _OPERATIONS.items() if any(sign.search(line) for line in lines)]
    operations = " and ".join([*([", ".join(found[:-1])] if found[:-1] else []), *found[-1:]])
    return f"Work in {count}, with {operations}."


GSM_SYMBOLIC = Task("gsm_symbolic", solution, steps_executed, steps, summary)
