from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reasoning_gym import create_dataset

from dopd_lightning.data import verifiers
from dopd_lightning.data.example import Example
from dopd_lightning.data.verifiers import (
    VERIFIERS,
    exact,
    extract_answer,
    get_verifier,
    math_verify,
    numeric,
    reasoning_gym,
)
from dopd_lightning.errors import ConfigError, DataError

GSM = create_dataset("gsm_symbolic", seed=1, size=1)[0]


def expects(answer: str | int | float) -> Example:
    return {"prompt": "How many?", "answer": answer}


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("12 + 34 = 46\n<answer>46</answer>", "46"),
        ("<answer>1</answer> no, <answer> 46 </answer> done", "46"),
        ("<answer>1</answer> and <answer>46", "1"),  # cut before the end of the second
        ("so <answer> or <answer>46</answer>", "46"),
        ("</answer> 46", "</answer> 46"),
        (r"\boxed{1} then \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{46} and \boxed{4", "46"),
        (r"} { \boxed{46} {", "46"),
        (r"\boxed{\boxed{46}}", "46"),
        (r"<answer>46</answer> \boxed{5}", "46"),
        ("Answer: 4\nReally.\nAnswer: 46\nBye.", "46"),
        ("the final answer: 46", "46"),
        ("Answer:\n\n46\nBye.", "46"),
        ("Adding up.\n#### 46", "46"),
        ("Answer: ", ""),
        ("  46 \n", "46"),
        ("", ""),
    ],
)
def test_extract_answer(response: str, answer: str) -> None:
    assert extract_answer(response) == answer


def test_exact_compares_text() -> None:
    assert exact("<answer>46</answer>", expects(" 46")) == 1.0
    assert exact("46", expects(46)) == 1.0
    assert exact("46.0", expects(46)) == 0.0
    assert exact("The result is 46", expects(46)) == 0.0


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("46", 46),
        ("46.00", "46"),
        ("46.", "46"),
        ("£1,234.50 a month", 1234.5),
        ("12 + 34 = 46", "46"),
        ("-$5", "-5"),
        ("\N{MINUS SIGN}5", -5),
        ("10-5", "5"),
        ("1/2", 0.5),
        (".5", "1/2"),
        ("0.1", 0.1),
        ("1e3", "1000"),
        ("50%", "50"),
        (r"\boxed{46}", "46 apples"),
    ],
)
def test_numeric_compares_values(response: str, answer: str | float) -> None:
    assert numeric(response, expects(answer)) == 1.0


@pytest.mark.parametrize(
    ("response", "answer"),
    [("46", 47), ("", 46), ("none", 46), ("-46", 46), ("1/2", "3/2"), ("1/0", 1), ("1,23", 123), ("46 of 50", 46)],
)
def test_numeric_tells_other_values_apart(response: str, answer: str | float) -> None:
    assert numeric(response, expects(answer)) == 0.0


def test_numeric_wants_a_number_as_the_answer() -> None:
    with pytest.raises(DataError, match=r"the answer 'many' of the example 'How many.' contains no number"):
        numeric("46", expects("many"))


def test_reasoning_gym_uses_the_datasets_own_scorer() -> None:
    example: Example = {"prompt": GSM["question"], "entry": GSM}
    assert reasoning_gym(f"So <answer>{GSM['answer']} apples</answer>", example) == 1.0
    assert reasoning_gym("<answer>-1</answer>", example) == 0.01
    assert reasoning_gym("", example) == 0.0


def test_a_scorer_that_raises_or_leaves_the_range_is_held_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    example: Example = {"prompt": GSM["question"], "entry": GSM}
    for score, expected in ((lambda *_: 1 / 0, 0.0), (lambda *_: 7.0, 1.0), (lambda *_: -7.0, 0.0)):
        monkeypatch.setattr(verifiers, "_scorer", lambda source, score=score: score)
        assert reasoning_gym("46", example) == expected


@pytest.mark.parametrize("entry", [{}, {"entry": None}, {"entry": {"question": "q"}}, {"entry": {"metadata": {}}}])
def test_reasoning_gym_wants_an_entry(entry: Any) -> None:
    with pytest.raises(DataError, match=r"the example 'How many.' has no 'entry' from a reasoning-gym dataset"):
        reasoning_gym("46", cast(Example, {"prompt": [{"role": "user", "content": "How many?"}], **entry}))


def test_reasoning_gym_wants_a_dataset_it_knows() -> None:
    with pytest.raises(DataError, match="no scorer for the dataset 'nothing'"):
        reasoning_gym("46", {"prompt": "q", "entry": {"metadata": {"source_dataset": "nothing"}}})


def test_math_verify_compares_mathematics() -> None:
    pytest.importorskip("math_verify")
    assert math_verify(r"So \boxed{\frac{2}{4}}", expects(r"\frac{1}{2}")) == 1.0
    assert math_verify("<answer>x + 1</answer>", expects("1 + x")) == 1.0
    assert math_verify("<answer>3</answer>", expects("4")) == 0.0
    assert math_verify("", expects("4")) == 0.0


def test_math_verify_works_in_a_thread() -> None:
    pytest.importorskip("math_verify")
    scores: list[float] = []
    thread = threading.Thread(target=lambda: scores.append(math_verify("<answer>4</answer>", expects("4"))))
    thread.start()
    thread.join()
    assert scores == [1.0]


def test_math_verify_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[math\]'"):
        math_verify("4", expects("4"))


@pytest.mark.parametrize("verifier", ["exact", "numeric", "math_verify"])
@pytest.mark.parametrize("missing", [{}, {"answer": None}])
def test_an_example_without_an_answer_is_an_error(verifier: str, missing: Any) -> None:
    with pytest.raises(DataError, match=r"the example 'How many.' has no 'answer' to compare with"):
        get_verifier(verifier)("46", cast(Example, {"prompt": "How many?", **missing}))


def test_get_verifier() -> None:
    def mine(response: str, example: Example) -> float:
        return 0.5

    assert get_verifier("exact") is exact
    assert get_verifier(mine) is mine
    with pytest.raises(ConfigError, match="verifier: 'exakt' is not one of exact, math_verify, numeric, reasoning_gym"):
        get_verifier("exakt")
    with pytest.raises(ConfigError, match="verifier: 3 must be a name or a callable"):
        get_verifier(3)  # type: ignore[arg-type]


PIECES = [
    "<answer>",
    "</answer>",
    r"\boxed{",
    "}",
    "{",
    "####",
    "Answer:",
    "1/0",
    "9" * 5000,
    "1e999",
    ",",
    "-",
    "$",
    "\\",
    "\n",
]
responses = st.text() | st.lists(st.sampled_from(PIECES) | st.text(max_size=5)).map("".join)


@pytest.mark.parametrize("verifier", [exact, numeric, reasoning_gym])
@given(response=responses)
def test_no_response_makes_a_verifier_raise(verifier: Callable[[str, Example], float], response: str) -> None:
    example: Example = {"prompt": "q", "answer": GSM["answer"], "entry": GSM}
    assert 0.0 <= verifier(response, example) <= 1.0


@settings(max_examples=30, deadline=None)
@given(response=responses)
def test_no_response_makes_math_verify_raise(response: str) -> None:
    pytest.importorskip("math_verify")
    assert math_verify(response, expects("4")) in (0.0, 1.0)


@pytest.mark.parametrize(
    "piece", ["<answer>", "</answer>", r"\boxed{", "{", "}", "Answer:", "1,111", "1/", "-", "9", " "]
)
def test_a_long_response_is_read_in_no_time(piece: str) -> None:
    response = piece * (60_000 // len(piece))
    start = time.perf_counter()
    exact(response, expects("4"))
    numeric(response, expects("4"))
    assert time.perf_counter() - start < 5  # quadratic time would be minutes


def test_the_names_are_those_of_the_configuration() -> None:
    assert set(VERIFIERS) == {"exact", "numeric", "reasoning_gym", "math_verify"}
    assert all(isinstance(verifier, type(exact)) for verifier in VERIFIERS.values())
