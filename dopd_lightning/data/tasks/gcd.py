"""``gcd``: the greatest common divisor of a list of numbers, by Euclid's algorithm."""

from __future__ import annotations

from dataclasses import dataclass

from dopd_lightning.data.tasks.task import Entry, Task, final_answer


@dataclass(frozen=True)
class _Division:
    dividend: int
    divisor: int
    named: str  # the division for a hint: a result by its step, without its value

    @property
    def equation(self) -> str:
        return f"{self.dividend} % {self.divisor} = {self.dividend % self.divisor}"


def _divisions(entry: Entry) -> list[_Division]:
    """Return the divisions of Euclid's algorithm, for each number and the divisor of all before it, down to 0."""
    first, *rest = entry["metadata"]["numbers"]
    divisions: list[_Division] = []
    divisor, divisor_name = first, str(first)
    for number in rest:
        dividend, dividend_name = number, str(number)
        if dividend < divisor:
            dividend, dividend_name, divisor, divisor_name = divisor, divisor_name, dividend, dividend_name
        while True:
            divisions.append(_Division(dividend, divisor, f"{dividend_name} % {divisor_name}"))
            if dividend % divisor == 0:
                break
            dividend, divisor = divisor, dividend % divisor
            dividend_name, divisor_name = divisor_name, f"result {len(divisions)}"
    return divisions


def solution(entry: Entry) -> str:
    """Return one division per line, then the answer."""
    return "\n".join([*(division.equation for division in _divisions(entry)), final_answer(entry["answer"])])


def steps_executed(entry: Entry) -> str:
    """Return the steps with remainders: ``Step 1: 18 % 12 = 6. Step 2: 12 % 6 = 0.``"""
    return " ".join(f"Step {n}: {division.equation}." for n, division in enumerate(_divisions(entry), start=1))


def steps(entry: Entry) -> str:
    """Return the steps without remainders: ``Step 1: 18 % 12. Step 2: 12 % result 1.``"""
    return " ".join(f"Step {n}: {division.named}." for n, division in enumerate(_divisions(entry), start=1))


def summary(entry: Entry) -> str:
    """Return a sentence with the number of divisions."""
    return f"Divide with remainder, {len(_divisions(entry))} times in all."


GCD = Task("gcd", solution, steps_executed, steps, summary)
