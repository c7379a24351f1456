"""Language of a text, where it can be detected, by py3langid (extra ``privilege``)."""

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
"""Bytes of letters below which there is no verdict: five Latin words, or eight Chinese characters."""

_NONE = "zxx"
"""ISO 639 code of text without language, such as rows of letters."""

_SURE, _EXCLUDED = 0.5, 0.05
"""A language is another one if something else is at least this likely, and the one that is meant at most this."""

# What is in no language: formulas, code, commands of LaTeX, tags and addresses.
_NO_LANGUAGE = re.compile(
    r"\$\$.*?\$\$|\$[^$\n]*\$|\\\(.*?\\\)|\\\[.*?\\\]|```.*?```|`[^`\n]*`|\\[A-Za-z]+|</?\w+>|https?://\S+", re.DOTALL
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def wrong_language(hint: str, example: Example, *, language: str | None = None) -> Reason | None:
    """The hint is in another language than ``language`` (a code of ISO 639), or than the question if that is ``None``.

    Formulas do not count. Of a text with too few words there is no verdict, and so no reason; close relatives, such as
    Portuguese and Galician, are not told apart where either is likely.
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
    whose = "the question is in" if language is None else "asked for was"
    return Reason("wrong_language", f"it is in {most_likely!r}, and {whose} {right!r}")


def languages_of(text: str) -> dict[str, float]:
    """Probabilities of languages, the likeliest first; none of a text that is too short to say, or in no language."""
    words = " ".join(_WORD.findall(_NO_LANGUAGE.sub(" ", text)))
    if len(words.replace(" ", "").encode("utf-8", "ignore")) < _SHORTEST:
        return {}
    ranked = dict(_identifier().rank(words))
    return {} if next(iter(ranked)) == _NONE else ranked


def check_language(language: str | None) -> None:
    """Say before anything else what cannot be told.

    Raises:
        ConfigError: if py3langid is missing, or knows no such language.
    """
    if find_spec("py3langid") is None:
        raise missing_extra("language: to tell languages takes py3langid", "privilege", "or use language=any")
    known = _identifier().labels
    if language is not None and language not in known:
        raise ConfigError(
            f"language: {language!r} is none of the {len(known)} that py3langid knows, such as en, de, zh"
        )


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # takes a second to load

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
