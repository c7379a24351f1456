from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reasoning_gym import create_dataset
from reasoning_gym.utils import extract_answer

from dopd_lightning.data.tasks.basic_arithmetic import BASIC_ARITHMETIC
from dopd_lightning.errors import ConfigError

GENERATOR = create_dataset("basic_arithmetic", seed=0, size=10**6)


def entry(expression: str, answer: int) -> dict[str, Any]:
    return {
        "question": f"Calculate {expression}.",
        "answer": str(answer),
        "metadata": {"source_dataset": "basic_arithmetic", "expression": expression},
    }


@pytest.fixture
def worked() -> dict[str, Any]:
    return entry("2 - ( 3 + 4 ) * 5", -33)


def test_solution(worked: dict[str, Any]) -> None:
    assert BASIC_ARITHMETIC.solution(worked) == "3 + 4 = 7\n7 * 5 = 35\n2 - 35 = -33\n<answer>-33</answer>"


def test_steps_with_execution(worked: dict[str, Any]) -> None:
    assert BASIC_ARITHMETIC.steps_executed(worked) == "Step 1: 3 + 4 = 7. Step 2: 7 * 5 = 35. Step 3: 2 - 35 = -33."


def test_steps_without_execution(worked: dict[str, Any]) -> None:
    assert BASIC_ARITHMETIC.steps(worked) == "Step 1: 3 + 4. Step 2: result 1 * 5. Step 3: 2 - result 2."


def test_summary(worked: dict[str, Any]) -> None:
    assert BASIC_ARITHMETIC.summary(worked) == "In this order: plus, times, minus."


def test_negative_numbers_and_a_negated_parenthesis() -> None:
    problem = entry("-3 * -( 2 - 4 )", -6)
    assert BASIC_ARITHMETIC.solution(problem) == "2 - 4 = -2\n0 - -2 = 2\n-3 * 2 = -6\n<answer>-6</answer>"
    assert BASIC_ARITHMETIC.steps(problem) == "Step 1: 2 - 4. Step 2: 0 - result 1. Step 3: -3 * result 2."


def test_a_lone_number_has_no_steps() -> None:
    assert BASIC_ARITHMETIC.solution(entry("-7", -7)) == "<answer>-7</answer>"


def test_division_rounds_down_as_the_generator_s_does() -> None:
    assert BASIC_ARITHMETIC.solution(entry("-7 / 2", -4)) == "-7 / 2 = -4\n<answer>-4</answer>"


def test_an_answer_that_is_not_the_formula_s_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'2 \+ 3 \* 4' is 20, but it is 14; leave allow_parentheses at true"):
        BASIC_ARITHMETIC.solution(entry("2 + 3 * 4", 20))


@given(st.integers(0, 10**6 - 1))
def test_every_equation_holds_and_the_last_result_is_the_answer(index: int) -> None:
    problem = GENERATOR[index]
    *equations, answer = BASIC_ARITHMETIC.solution(problem).splitlines()
    for equation in equations:
        left, result = equation.split(" = ")
        assert eval(left.replace("/", "//")) == int(result)
    assert not equations or equations[-1].endswith(f"= {problem['answer']}")
    assert GENERATOR.score_answer(extract_answer(answer), problem) == 1.0


@given(st.integers(0, 10**6 - 1))
def test_steps_have_the_numbers_of_the_question_alone(index: int) -> None:
    problem = GENERATOR[index]
    hint = re.sub(r"Step \d+: |result \d+", "", BASIC_ARITHMETIC.steps(problem))
    given_numbers = re.findall(r"\d+", problem["question"])
    negated = problem["metadata"]["expression"].count("-(")
    found = re.findall(r"\d+", hint)
    assert sorted(found) == sorted([*given_numbers, *["0"] * negated]) or not found
