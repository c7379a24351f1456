"""Detection of the language of a text by py3langid (extra ``privilege``)."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from typing import Any

from dopd_lightning.data import Example
from dopd_lightning.errors import ConfigError, missing_extra
from dopd_lightning.hints.question import last_question_of
from dopd_lightning.hints.reason import Reason

_SHORTEST = 24
"""Least size of a text, in bytes of its letters, for a verdict: five Latin words or eight Chinese characters."""

_NONE = "zxx"
"""ISO 639 code of text in no language, such as sequences of letters."""

_SURE, _EXCLUDED = 0.5, 0.05
"""Least probability of another language, and largest of the right language, for the verdict that it is wrong."""

# Text in no language: formulas, code, LaTeX commands, tags and URLs.
_NO_LANGUAGE = re.compile(
    r"\$\$.*?\$\$|\$[^$\n]*\$|\\\(.*?\\\)|\\\[.*?\\\]|```.*?```|`[^`\n]*`|\\[A-Za-z]+|</?\w+>|https?://\S+", re.DOTALL
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def wrong_language(hint: str, example: Example, *, language: str | None = None) -> Reason | None:
    """Return a reason if the hint is not in ``language`` (ISO 639 code), or in the question's language for ``None``.

    Formulas are ignored. There is no reason if a text has too few words, or if the two languages are similar, such as
    Portuguese and Galician, and both are likely.
    """
    written = languages_of(hint)
    if not written:
        return None
    most_likely, share = next(iter(written.items()))
    meant = {language: 1.0} if language is not None else languages_of(last_question_of(example))
    if not meant or share < _SURE:
        return None
    right, its_share = next(iter(meant.items()))
    if its_share < _SURE or written.get(right, 0.0) > _EXCLUDED or meant.get(most_likely, 0.0) > _EXCLUDED:
        return None
    expected = "the question is in" if language is None else "it must be in"
    return Reason("wrong_language", f"it is in {most_likely!r}, but {expected} {right!r}")


def languages_of(text: str) -> dict[str, float]:
    """Return the probabilities of languages, largest first; empty if the text is too short or in no language."""
    words = " ".join(_WORD.findall(_NO_LANGUAGE.sub(" ", text)))
    if len(words.replace(" ", "").encode("utf-8", "ignore")) < _SHORTEST:
        return {}
    ranked = dict(_identifier().rank(words))
    return {} if next(iter(ranked)) == _NONE else ranked


def check_language(language: str | None) -> None:
    """Raise ConfigError if a language cannot be detected.

    Raises:
        ConfigError: if py3langid is not installed, or does not know the language.
    """
    if find_spec("py3langid") is None:
        raise missing_extra("language: its check needs py3langid", "privilege", "or use language=any")
    known = _identifier().labels
    if language is not None and language not in known:
        raise ConfigError(
            f"language: {language!r} is not one of the {len(known)} that py3langid knows, such as en, de, zh"
        )


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # takes a second to load

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
