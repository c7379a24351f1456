"""``chain_sum``: additions and subtractions from left to right, such as ``12 + 34 - 5``."""

from __future__ import annotations

from dopd_lightning.data.tasks.task import Entry, Task, final_answer

_VERBS = {"+": "add {}", "-": "subtract {}"}


def _chain(entry: Entry) -> list[tuple[int, str, int, int]]:
    """Return the calculation as steps ``(left, operator, right, result)``."""
    left, *rest = entry["metadata"]["expression"].split()
    steps = []
    running = int(left)
    for operator, term in zip(rest[::2], rest[1::2], strict=True):
        right = int(term)
        result = running + right if operator == "+" else running - right
        steps.append((running, operator, right, result))
        running = result
    return steps


def _equations(entry: Entry) -> list[str]:
    return [f"{left} {operator} {right} = {result}" for left, operator, right, result in _chain(entry)]


def solution(entry: Entry) -> str:
    """Return one equation per line, then the answer."""
    return "\n".join([*_equations(entry), final_answer(entry["answer"])])


def steps_executed(entry: Entry) -> str:
    """Return the steps with results: ``Step 1: 12 + 34 = 46. Step 2: 46 - 5 = 41.``"""
    return " ".join(f"Step {n}: {equation}." for n, equation in enumerate(_equations(entry), start=1))


def steps(entry: Entry) -> str:
    """Return the steps without results: ``Step 1: start with 12 and add 34. Step 2: subtract 5.``"""
    chain = _chain(entry)
    parts = []
    for n, (left, operator, right, _) in enumerate(chain, start=1):
        verb = _VERBS[operator].format(right)
        parts.append(f"Step {n}: start with {left} and {verb}." if n == 1 else f"Step {n}: {verb}.")
    return " ".join(parts)


def summary(entry: Entry) -> str:
    """Return a sentence with the numbers of additions and subtractions."""
    operators = [operator for _, operator, _, _ in _chain(entry)]
    return f"Work from left to right: {operators.count('+')} additions and {operators.count('-')} subtractions."


CHAIN_SUM = Task("chain_sum", solution, steps_executed, steps, summary)
