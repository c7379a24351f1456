"""Verifiers: functions that map ``(response, example)`` to a score in [0, 1], 1 for a correct final answer."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

from dopd_lightning.data.example import Example
from dopd_lightning.data.written_numbers import NUMBER, value_of
from dopd_lightning.errors import ConfigError, DataError, check_choice, missing_extra

Verifier = Callable[[str, Example], float]

_MARKER = re.compile(r"answer:|####", re.IGNORECASE)


def extract_answer(response: str) -> str:
    r"""Return the final answer in a response, stripped.

    It is the last ``<answer>…</answer>``; else the last ``\boxed{…}`` with balanced braces; else the line after the
    last ``Answer:`` or ``####``; else the whole response.

    Example:
        >>> extract_answer(r"So x is \boxed{3}."), extract_answer("3 + 4 = 7\n#### 7")
        ('3', '7')
    """
    end = response.rfind("</answer>")
    start = response.rfind("<answer>", 0, max(end, 0))
    if start >= 0:
        return response[start + len("<answer>") : end].strip()
    boxed = _last_boxed(response)
    if boxed is not None:
        return boxed.strip()
    *_, marker = [None, *_MARKER.finditer(response)]
    if marker is not None:
        return response[marker.end() :].strip().partition("\n")[0].strip()
    return response.strip()


def _last_boxed(response: str) -> str | None:
    """Return the content of the last ``\\boxed{…}`` whose braces are closed, in one pass; ``None`` if there is none."""
    if r"\boxed{" not in response:
        return None
    opened: list[int] = []
    last = (-1, -1)
    for brace in re.finditer(r"[{}]", response):
        if brace.group() == "{":
            opened.append(brace.end())
        elif opened:
            start = opened.pop()
            if response.endswith(r"\boxed{", 0, start):
                last = max(last, (start, brace.start()))
    return response[slice(*last)] if last[0] >= 0 else None


def exact(response: str, example: Example) -> float:
    """Return 1 if the final answer equals the example's, character for character, and 0 otherwise.

    Raises:
        DataError: if the example has no ``answer``.
    """
    return float(extract_answer(response) == str(_answer(example)).strip())


def numeric(response: str, example: Example) -> float:
    """Return 1 if the last number of the final answer equals the example's, and 0 otherwise.

    ``£1,234.50`` is read as 1234.5, and ``1/2`` as 0.5.

    Raises:
        DataError: if the example has no ``answer``, or an answer without a number.
    """
    expected = _last_number(str(_answer(example)))
    if expected is None:
        raise DataError(f"verifier 'numeric': the answer {example['answer']!r} of {_name(example)} contains no number")
    return float(_last_number(extract_answer(response)) == expected)


def _last_number(text: str) -> Fraction | None:
    *_, match = [None, *NUMBER.finditer(text.replace("\N{MINUS SIGN}", "-"))]
    return None if match is None else value_of(match)


def reasoning_gym(response: str, example: Example) -> float:
    """Score the final answer with the scorer of the example's reasoning-gym dataset.

    Some of these scorers give a wrong answer a small score (0.01, or the share of correct text); only 1 is correct.

    Raises:
        DataError: if the example has no ``entry`` with the name of its dataset, or reasoning-gym has no such dataset.
    """
    entry = example.get("entry")
    source = entry["metadata"].get("source_dataset") if entry and "metadata" in entry else None
    if entry is None or source is None:
        raise DataError(f"verifier 'reasoning_gym': {_name(example)} has no 'entry' from a reasoning-gym dataset")
    scorer = _scorer(source)
    try:
        score = float(scorer(extract_answer(response), entry))
    except Exception:  # some scorers raise for an answer that they cannot parse
        return 0.0
    return min(max(score, 0.0), 1.0)


@cache
def _scorer(source: str) -> Callable[..., float]:
    from reasoning_gym.factory import get_score_answer_fn

    try:
        scorer: Callable[..., float] = get_score_answer_fn(source)
    except (AssertionError, ValueError) as error:
        raise DataError(f"verifier 'reasoning_gym': no scorer for the dataset {source!r} ({error})") from error
    return scorer


def math_verify(response: str, example: Example) -> float:
    """Return 1 if ``math-verify`` finds the final answer equal to the example's, and 0 otherwise.

    It needs the extra ``math``.

    Raises:
        ConfigError: if ``math-verify`` is not installed.
        DataError: if the example has no ``answer``, or one that ``math-verify`` cannot read.
    """
    try:
        from math_verify import parse, verify
    except ImportError as error:
        raise missing_extra("verifier: 'math_verify' needs math-verify", "math") from error
    # The time limit of math-verify uses an alarm signal, which only the main thread may set.
    seconds: Any = 5 if threading.current_thread() is threading.main_thread() else None
    gold = parse(f"${_answer(example)}$", parsing_timeout=seconds)
    if not gold:
        raise DataError(f"verifier 'math_verify': cannot read the answer {example['answer']!r} of {_name(example)}")
    answer = parse(f"${extract_answer(response)}$", parsing_timeout=seconds)
    return float(verify(gold, answer, timeout_seconds=seconds))


VERIFIERS: dict[str, Verifier] = {
    "exact": exact,
    "numeric": numeric,
    "reasoning_gym": reasoning_gym,
    "math_verify": math_verify,
}


def get_verifier(verifier: str | Verifier) -> Verifier:
    """Return the verifier with this name; a callable is returned as it is.

    Raises:
        ConfigError: for an unknown name, or an object that is not callable.

    Example:
        >>> get_verifier("numeric")("Answer: £1,234.50", {"prompt": "How much?", "answer": 1234.5})
        1.0
    """
    if isinstance(verifier, str):
        return VERIFIERS[check_choice("verifier", verifier, VERIFIERS)]
    if not callable(verifier):
        raise ConfigError(f"verifier: {verifier!r} must be a name or a callable (response, example) -> score")
    return verifier


def _answer(example: Example) -> str | int | float:
    answer = example.get("answer")
    if answer is None:
        raise DataError(f"verifier: {_name(example)} has no 'answer' to compare with")
    return answer


def _name(example: Example) -> str:
    prompt = example["prompt"]
    text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    return f"the example {text[:60]!r}"
