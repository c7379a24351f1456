"""Checks that a hint has to pass, by the content that its kind may have."""

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

_CHARACTERS_PER_WORD = 20

# A word, a number, or a character of a script without spaces.
_WORD = re.compile(r"[぀-ヿ㐀-鿿豈-﫿]|[^\W_぀-ヿ㐀-鿿豈-﫿]+")


def too_long(hint: str, example: Example, *, max_words: int) -> Reason | None:
    """Return a reason if the hint has more than ``max_words`` words, or 20 times as many characters.

    Each Chinese or Japanese character counts as a word.
    """
    words, max_characters = len(_WORD.findall(hint)), _CHARACTERS_PER_WORD * max_words
    if words <= max_words and len(hint) <= max_characters:
        return None
    limit = f"the limit is {max_words} words ({max_characters} characters)"
    return Reason(TOO_LONG, f"{words} words ({len(hint)} characters); {limit}")


def reasons_against(hint: str, example: Example, checks: Iterable[Check]) -> list[Reason]:
    """Return the reasons to reject a hint. A hint that is too long is not checked further, which could take long."""
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
    """Return the checks for a kind of hint, the length first: it limits the time of the other checks.

    Args:
        kind: kind of hint.
        max_words: limit on the number of words; ``None`` for that of the kind.
        language: ISO 639 code; ``None`` for the language of the question, ``any`` for no check.
        allowed_numbers: numbers that a hint may contain even if the question does not.

    Raises:
        ConfigError: if the language cannot be detected.
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
