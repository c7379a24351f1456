from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reasoning_gym import create_dataset

from dopd_lightning.data.tasks.gcd import GCD


def entry(*numbers: int) -> dict[str, Any]:
    return {
        "question": f"Find the Greatest Common Divisor (GCD) of these numbers: {', '.join(map(str, numbers))}.",
        "answer": str(math.gcd(*numbers)),
        "metadata": {"source_dataset": "gcd", "numbers": [*numbers]},
    }


@pytest.fixture
def worked() -> dict[str, Any]:
    return entry(12, 18)


def test_solution(worked: dict[str, Any]) -> None:
    assert GCD.solution(worked) == "18 % 12 = 6\n12 % 6 = 0\n<answer>6</answer>"


def test_steps_with_execution(worked: dict[str, Any]) -> None:
    assert GCD.steps_executed(worked) == "Step 1: 18 % 12 = 6. Step 2: 12 % 6 = 0."


def test_steps_without_execution(worked: dict[str, Any]) -> None:
    assert GCD.steps(worked) == "Step 1: 18 % 12. Step 2: 12 % result 1."


def test_summary(worked: dict[str, Any]) -> None:
    assert GCD.summary(worked) == "Divide with remainder, 2 times in all."


def test_more_than_two_numbers() -> None:
    assert GCD.solution(entry(12, 18, 4)) == "18 % 12 = 6\n12 % 6 = 0\n6 % 4 = 2\n4 % 2 = 0\n<answer>2</answer>"
    assert GCD.steps(entry(12, 18, 4)).endswith("Step 3: result 1 % 4. Step 4: 4 % result 3.")


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=4))
def test_every_remainder_is_right_and_the_last_divisor_is_the_answer(numbers: list[int]) -> None:
    *equations, answer = GCD.solution(entry(*numbers)).splitlines()
    for equation in equations:
        left, remainder = equation.split(" = ")
        assert eval(left) == int(remainder)
    assert equations[-1].split(" = ")[0].endswith(f"% {math.gcd(*numbers)}")
    assert answer == f"<answer>{math.gcd(*numbers)}</answer>"


@given(st.integers(0, 10**6 - 1))
def test_steps_have_the_numbers_of_the_question_alone(index: int) -> None:
    problem = create_dataset("gcd", seed=0, size=10**6)[index]
    hint = re.sub(r"Step \d+: |result \d+", "", GCD.steps(problem))
    assert {*re.findall(r"\d+", hint)} <= {str(number) for number in problem["metadata"]["numbers"]}
