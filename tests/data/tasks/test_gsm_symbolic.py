from __future__ import annotations

import re
from random import Random
from typing import Any

import pytest
from reasoning_gym import create_dataset
from reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic import tasks_ok
from reasoning_gym.utils import extract_answer

from dopd_lightning.data.tasks.gsm_symbolic import GSM_SYMBOLIC

GENERATOR = create_dataset("gsm_symbolic", seed=0, size=1)
EVERY_TEMPLATE = [(template, GENERATOR.generators[template](Random(n), 1.0)) for template in tasks_ok for n in range(8)]


def entry(question: str, *lines: str, answer: str = "15") -> dict[str, Any]:
    cot = "\n".join([*lines, f"#### {answer}"])
    return {"question": question, "answer": answer, "metadata": {"answer_cot": cot}}


@pytest.fixture
def toys() -> dict[str, Any]:
    return entry(
        "A boy has 9 toys. His cousin has 3 fewer toys than he has. How many do they have together?",
        "His cousin has 9 - 3 = 6 toys.",
        "Together, they have 9 + 6 = 15 toys.",
    )


def test_solution(toys: dict[str, Any]) -> None:
    assert GSM_SYMBOLIC.solution(toys) == (
        "His cousin has 9 - 3 = 6 toys.\nTogether, they have 9 + 6 = 15 toys.\n<answer>15</answer>"
    )


def test_steps_with_execution(toys: dict[str, Any]) -> None:
    assert GSM_SYMBOLIC.steps_executed(toys) == (
        "Step 1: His cousin has 9 - 3 = 6 toys. Step 2: Together, they have 9 + 6 = 15 toys."
    )


def test_steps_without_execution(toys: dict[str, Any]) -> None:
    assert GSM_SYMBOLIC.steps(toys) == "Step 1: His cousin has 9 - 3 toys. Step 2: Together, they have 9 + ? toys."


def test_summary(toys: dict[str, Any]) -> None:
    assert GSM_SYMBOLIC.summary(toys) == "Work in two steps, with addition and subtraction."


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("So 12 clams / 3 clams/minute = 4 minutes", "So 12 clams / 3 clams/minute."),  # the result's unit goes too
        ("He earns £12/day * 3 days/month = £36/month.", "He earns £12/day * 3 days/month."),
        ("That costs 3 x £12 = £36 for all.", "That costs 3 x £12 for all."),
        ("T = 12 - 3 = 9 balls", "T = 12 - 3 balls."),
        ("3 + T = 12 + T = 15 balls", "3 + T = 12 + T."),  # "= 12" goes on, so it is no result
        ("So 12 - 3 = 3 are left.", "So 12 - 3 are left."),  # a result goes even where the question has the same number
        ("Sarah = 12 points", "Sarah = 12 points."),  # nothing is computed
        ("She has 9 points because 12 - 3 = 9", "She has ? points because 12 - 3."),  # the result stands first
        ("The share is 3/12 = 1/4 a day, so 1/4 * 12 = 3 days", "The share is 3/12 a day, so ? * 12 days."),
        ("12 kg * 3 = 36.0 kg, at 7 days a week", "12 kg * 3 kg, at ? days a week."),
        ("The total is 1,200 or $12.00", "The total is ? or $12.00."),
    ],
)
def test_what_counts_as_a_result(line: str, hint: str) -> None:
    assert GSM_SYMBOLIC.steps(entry("I have 12 of them, take 3, at 1 in 4.", line)) == f"Step 1: {hint}"


def test_headings_bullets_and_typographic_operators_are_made_plain() -> None:
    lines = [
        "Step by step:",
        "",
        "1. First:",
        "   • 73 \N{MULTIPLICATION SIGN} 4 = 292 figs",
        "   - So 11÷1/2=22",
        "   - 8 ÷ 2 = 4.0",
        "",
    ]
    assert GSM_SYMBOLIC.solution(entry("", *lines, answer="4")) == (
        "73 x 4 = 292 figs\nSo 11 / (1/2)=22\n8 / 2 = 4\n<answer>4</answer>"
    )


def test_long_decimals_are_shortened_in_hint_and_question_alike() -> None:
    problem = entry("One is 0.6666666666666666 full.", "So 0.6666666666666666 * 3.0 = 2.0000000000000004 cups")
    assert GSM_SYMBOLIC.steps_executed(problem) == "Step 1: So 0.6667 * 3 = 2 cups."
    assert GSM_SYMBOLIC.steps(problem) == "Step 1: So 0.6667 * ? cups."


def numbers(text: str) -> set[float]:
    return {round(float(number.replace(",", "")), 4) for number in re.findall(r"\d[\d,]*(?:\.\d+)?\b", text)}


def test_steps_have_no_number_that_the_question_does_not_have() -> None:
    for template, problem in EVERY_TEMPLATE:
        hint = re.sub(r"Step \d+: ", "", GSM_SYMBOLIC.steps(problem))
        assert numbers(hint) <= numbers(problem["question"]), (template, problem, hint)


def test_steps_show_no_result_after_an_equals_sign() -> None:
    for template, problem in EVERY_TEMPLATE:
        hint = GSM_SYMBOLIC.steps(problem)
        assert not re.search(r"\d *[-+*/x] *[$£€]?\d+ *= *[$£€]?\d+(?! *[-+*/x])", hint), (template, problem, hint)


def test_steps_keep_the_operations() -> None:
    """A hint that hides too much is none: what is left names most of the operations."""
    for template, problem in EVERY_TEMPLATE:
        operations = [re.findall(r"[*+]", text(problem)) for text in (GSM_SYMBOLIC.solution, GSM_SYMBOLIC.steps)]
        assert operations[0] == operations[1], (template, problem)


def test_the_summary_has_no_number_but_names_an_operation() -> None:
    for template, problem in EVERY_TEMPLATE:
        summary = GSM_SYMBOLIC.summary(problem)
        assert re.fullmatch(r"Work in [a-z]+ steps?, with [a-z, ]+\.", summary), (template, summary)
        assert re.search(r"addition|subtraction|multiplication|division", summary), (template, summary)


def test_the_solution_ends_with_the_right_answer_and_has_no_marks_of_its_source() -> None:
    for template, problem in EVERY_TEMPLATE:
        solution = GSM_SYMBOLIC.solution(problem)
        assert extract_answer(solution) == problem["answer"], template
        assert not set(solution) - set(map(chr, range(32, 127))) - set("\n£€"), (template, solution)
        assert "####" not in solution
        assert "\n\n" not in solution
        if float(problem["answer"]) >= 0:  # reasoning-gym's scorer reads "-1" as "1"
            assert GENERATOR.score_answer(extract_answer(solution), problem) == 1.0, template


def test_executed_steps_give_the_answer_away() -> None:
    for template, problem in EVERY_TEMPLATE:
        assert float(problem["answer"]) in numbers(GSM_SYMBOLIC.steps_executed(problem)) | {
            -number for number in numbers(GSM_SYMBOLIC.steps_executed(problem))
        }, (template, problem)
