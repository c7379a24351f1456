from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reasoning_gym import create_dataset
from reasoning_gym.utils import extract_answer

from dopd_lightning.data.tasks.chain_sum import CHAIN_SUM

GENERATOR = create_dataset("chain_sum", seed=0, size=10**6, min_terms=2, max_terms=6, min_digits=1, max_digits=3)


def entry(expression: str, answer: int) -> dict[str, Any]:
    return {"question": f"{expression} =", "answer": str(answer), "metadata": {"expression": expression}}


@pytest.fixture
def worked() -> dict[str, Any]:
    return entry("12 + 34 - 5", 41)


def test_solution(worked: dict[str, Any]) -> None:
    assert CHAIN_SUM.solution(worked) == "12 + 34 = 46\n46 - 5 = 41\n<answer>41</answer>"


def test_steps_with_execution(worked: dict[str, Any]) -> None:
    assert CHAIN_SUM.steps_executed(worked) == "Step 1: 12 + 34 = 46. Step 2: 46 - 5 = 41."


def test_steps_without_execution(worked: dict[str, Any]) -> None:
    assert CHAIN_SUM.steps(worked) == "Step 1: start with 12 and add 34. Step 2: subtract 5."


def test_summary(worked: dict[str, Any]) -> None:
    assert CHAIN_SUM.summary(worked) == "Work from left to right: 1 additions and 1 subtractions."


def test_a_running_total_below_zero() -> None:
    assert CHAIN_SUM.solution(entry("3 - 8 + 1", -4)) == "3 - 8 = -5\n-5 + 1 = -4\n<answer>-4</answer>"


@given(st.integers(0, 10**6 - 1))
def test_the_solution_is_right_by_reasoning_gyms_own_scorer(index: int) -> None:
    problem = GENERATOR[index]
    assert GENERATOR.score_answer(extract_answer(CHAIN_SUM.solution(problem)), problem) == 1.0


@given(st.integers(0, 10**6 - 1))
def test_steps_name_the_terms_in_order_and_no_other_number(index: int) -> None:
    problem = GENERATOR[index]
    hint = re.sub(r"Step \d+: ", "", CHAIN_SUM.steps(problem))
    assert re.findall(r"\d+", hint) == re.findall(r"\d+", problem["question"])


@given(st.integers(0, 10**6 - 1))
def test_the_summary_has_no_numbers_but_the_counts_of_operations(index: int) -> None:
    problem = GENERATOR[index]
    operators = problem["metadata"]["expression"].split()[1::2]
    counts = [str(operators.count("+")), str(operators.count("-"))]
    assert re.findall(r"\d+", CHAIN_SUM.summary(problem)) == counts
