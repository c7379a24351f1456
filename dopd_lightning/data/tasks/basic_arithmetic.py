"""``basic_arithmetic``: formulas with operator precedence and parentheses, such as ``2 - ( 3 + 4 ) * 5``."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass

from dopd_lightning.data.tasks.task import Entry, Task, final_answer
from dopd_lightning.errors import ConfigError

_OPERATIONS: dict[type[ast.operator], tuple[str, str, Callable[[int, int], int]]] = {
    ast.Add: ("+", "plus", operator.add),
    ast.Sub: ("-", "minus", operator.sub),
    ast.Mult: ("*", "times", operator.mul),
    ast.Div: ("/", "divided by", operator.floordiv),  # as reasoning-gym computes its answers
}


@dataclass(frozen=True)
class _Operand:
    value: int
    step: int | None  # number, from 1, of the step with this result; None for a number of the formula

    def named(self) -> str:
        """Name the operand for a hint: a result by its step, without its value."""
        return str(self.value) if self.step is None else f"result {self.step}"


@dataclass(frozen=True)
class _Step:
    left: _Operand
    operation: tuple[str, str, Callable[[int, int], int]]
    right: _Operand

    @property
    def result(self) -> int:
        return self.operation[2](self.left.value, self.right.value)

    @property
    def equation(self) -> str:
        return f"{self.left.value} {self.operation[0]} {self.right.value} = {self.result}"


def _steps(entry: Entry) -> list[_Step]:
    """Return the operations in the order of their execution: from left to right, operands first."""
    done: list[_Step] = []

    def value_of(node: ast.expr) -> _Operand:
        if isinstance(node, ast.BinOp):
            step = _Step(value_of(node.left), _OPERATIONS[type(node.op)], value_of(node.right))
            done.append(step)
            return _Operand(step.result, len(done))
        if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
            return _Operand(ast.literal_eval(node), None)
        if isinstance(node, ast.UnaryOp):  # -( … ), which is 0 - ( … )
            step = _Step(_Operand(0, None), _OPERATIONS[ast.Sub], value_of(node.operand))
            done.append(step)
            return _Operand(step.result, len(done))
        return _Operand(ast.literal_eval(node), None)

    expression = entry["metadata"]["expression"]
    end = value_of(ast.parse(expression, mode="eval").body)
    if str(end.value) != entry["answer"]:  # reasoning-gym ignores precedence without parentheses
        raise ConfigError(
            f"params: reasoning-gym's answer to {expression!r} is {entry['answer']}, but it is {end.value}; leave"
            " allow_parentheses at true"
        )
    return done


def solution(entry: Entry) -> str:
    """Return one equation per line, then the answer."""
    return "\n".join([*(step.equation for step in _steps(entry)), final_answer(entry["answer"])])


def steps_executed(entry: Entry) -> str:
    """Return the steps with results: ``Step 1: 3 + 4 = 7. Step 2: 7 * 5 = 35. Step 3: 2 - 35 = -33.``"""
    return " ".join(f"Step {n}: {step.equation}." for n, step in enumerate(_steps(entry), start=1))


def steps(entry: Entry) -> str:
    """Return the steps without results: ``Step 1: 3 + 4. Step 2: result 1 * 5. Step 3: 2 - result 2.``"""
    named = (f"{step.left.named()} {step.operation[0]} {step.right.named()}" for step in _steps(entry))
    return " ".join(f"Step {n}: {text}." for n, text in enumerate(named, start=1))


def summary(entry: Entry) -> str:
    """Return the operations in order: ``In this order: plus, times, minus.``"""
    return f"In this order: {', '.join(step.operation[1] for step in _steps(entry))}."


BASIC_ARITHMETIC = Task("basic_arithmetic", solution, steps_executed, steps, summary)
