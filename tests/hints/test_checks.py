"""Checks of each kind of hint, and its longest length."""

from __future__ import annotations

from pathlib import Path

import pytest

from dopd_lightning.data.tasks import HINT_KINDS
from dopd_lightning.hints import kinds
from dopd_lightning.hints.checks import checks_for, reasons_against, too_long
from dopd_lightning.hints.kinds import KINDS

ROW = {"prompt": "What do you get if you add 12 and 34 and then take 5 away from what you have?", "answer": "41"}
EXECUTED = "First add 12 + 34 = 46, and then subtract 5 from this to get 41."
GERMAN = "Addiere zuerst die ersten beiden Zahlen und ziehe danach die dritte von der Summe ab."


def names(hint, kind, **settings):
    settings = {"max_words": None, "language": None, "allowed_numbers": ()} | settings
    return [reason.name for reason in reasons_against(hint, ROW, checks_for(KINDS[kind], **settings))]


def test_the_kinds_are_those_of_the_paper():
    assert tuple(KINDS) == HINT_KINDS


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("steps", ["answer_leaked", "execution_leaked"]),
        ("summary", ["answer_leaked", "execution_leaked"]),
        ("steps_executed", []),
    ],
)
def test_what_each_kind_keeps_back(kind, found):
    assert names(EXECUTED, kind) == found


@pytest.mark.parametrize("kind", ["steps", "summary", "steps_executed"])
def test_every_kind_has_a_language_and_a_length(kind):
    pytest.importorskip("py3langid")
    assert names(GERMAN, kind) == ["wrong_language"]
    assert names(GERMAN, kind, language="de") == []
    assert names(GERMAN, kind, language="any") == []
    assert names(GERMAN, kind, max_words=5) == ["too_long"]
    assert names("add " * (KINDS[kind].max_words + 1), kind, language="any") == ["too_long"]
    assert names("add " * KINDS[kind].max_words, kind, language="any") == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.written], ids=lambda kind: kind.name)
def test_the_example_that_a_template_gives_passes(kind):
    """A template shows the model one good hint, to a question of its own."""
    folder = Path(kinds.__file__).parent / "templates"
    asked, shown = (folder / f"{kind.name}.jinja").read_text().rsplit('For "', 1)[1].split('" ', 1)
    row = {"prompt": asked, "answer": "78", "completion": "4 + 9 = 13, 13 * 6 = 78"}
    checks = checks_for(kind, max_words=None, language="any", allowed_numbers=())
    assert reasons_against(shown.split(":", 1)[1], row, checks) == []


def test_all_that_is_wrong_is_said():
    pytest.importorskip("py3langid")
    assert names(f"{GERMAN} 12 + 34 = 46, also 41.", "steps") == [
        *("answer_leaked", "execution_leaked", "wrong_language")
    ]


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        ("Step 1: don't add, it's wrong.", 8),  # apostrophes part words
        ("12 + 34 = ?", 2),
        ("第一步：相加", 5),
        ("りんごを足す", 6),
        ("", 0),
        ("snake_case", 2),
    ],
)
def test_words(hint, words):
    assert too_long(hint, ROW, max_words=max(words, 1)) is None
    if words > 1:
        assert too_long(hint, ROW, max_words=words - 1).sentence.startswith(f"{words} words (")


@pytest.mark.parametrize("sign", ["(", " 1", "1 + ", "-", ".", "x" * 50 + " ", "\\frac{"])
def test_megabytes_of_anything_are_turned_down_at_once(sign):
    assert names(sign * (1_000_000 // len(sign)), "steps") == ["too_long"]
    assert "too_long" not in names(sign * (200 // len(sign)), "steps", language="any", max_words=200)
