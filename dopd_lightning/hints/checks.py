"""The checks that a hint has to pass, by what its kind may say."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import partial

from dopd_lightning.data import Example
from dopd_lightning.hints.kinds import Kind
from dopd_lightning.hints.language import check_language, wrong_language
from dopd_lightning.hints.leaks import answer_leaked, execution_leaked
from dopd_lightning.hints.reason import Check, Reason

ANY_LANGUAGE = "any"

TOO_LONG = "too_long"

_SIGNS_A_WORD = 20

# A word, a number, or a sign of a script that is written without spaces.
_WORD = re.compile(r"[぀-ヿ㐀-鿿豈-﫿]|[^\W_぀-ヿ㐀-鿿豈-﫿]+")


def too_long(hint: str, example: Example, *, max_words: int) -> Reason | None:
    """More than ``max_words`` words, or 20 times as many signs; each Chinese or Japanese character counts as a word."""
    words = len(_WORD.findall(hint))
    if words <= max_words and len(hint) <= _SIGNS_A_WORD * max_words:
        return None
    return Reason(TOO_LONG, f"it has {words} words in {len(hint)} signs, and {max_words} words are the most")


def reasons_against(hint: str, example: Example, checks: Iterable[Check]) -> list[Reason]:
    """Return the reasons against a hint. One that is too long is not checked further: it could be as long as a book."""
    reasons: list[Reason] = []
    for check in checks:
        reason = check(hint, example)
        if reason is not None:
            reasons.append(reason)
            if reason.name == TOO_LONG:
                break
    return reasons


def checks_for(
    kind: Kind, *, max_words: int | None, language: str | None, allowed_numbers: Collection[float]
) -> list[Check]:
    """Return the checks of this kind of hint, the length first, since it bounds the time of the others.

    Args:
        kind: says what may be given away, and how long a hint is at most.
        max_words: instead of the kind's own.
        language: a code of ISO 639; ``None`` for the question's own, ``any`` for no check.
        allowed_numbers: that may stand in a hint though not in the question.

    Raises:
        ConfigError: for a language that cannot be told.
    """
    checks: list[Check] = [partial(too_long, max_words=max_words or kind.max_words)]
    if not kind.gives_away_answer:
        checks.append(answer_leaked)
    if not kind.executes:
        checks.append(partial(execution_leaked, allowed_numbers=allowed_numbers))
    if language != ANY_LANGUAGE:
        check_language(language)
        checks.append(partial(wrong_language, language=language))
    return checks
