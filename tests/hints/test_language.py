"""A hint in another language than asked for; and texts of which nobody can say."""

from __future__ import annotations

import pytest

pytest.importorskip("py3langid")

from dopd_lightning.errors import ConfigError
from dopd_lightning.hints.language import check_language, languages_of, wrong_language

HINTS = {
    "en": "Step 1: Find out how many apples both children have together. Step 2: Subtract those that were eaten.",
    "de": "Schritt 1: Berechne zuerst, wie viele Äpfel beide Kinder haben. Schritt 2: Ziehe die gegessenen davon ab.",
    "fr": "Étape 1 : trouvez combien de pommes ont les deux enfants. Étape 2 : soustrayez celles qui ont été mangées.",
    "es": "Paso 1: calcula cuántas manzanas tienen los dos niños juntos. Paso 2: resta las que se han comido.",
    "pt": "Passo 1: descubra quantas maçãs as duas crianças têm juntas. Passo 2: subtraia as que foram comidas.",
    "ru": "Шаг 1: найдите, сколько яблок у обоих детей вместе. Шаг 2: вычтите те, которые были съедены.",
    "zh": "第一步：先求出两个孩子一共有多少个苹果。第二步：再减去已经吃掉的苹果。",
    "ja": "ステップ1：二人の子どもが持っているりんごの合計を求めます。ステップ2：食べた分を引きます。",
    "hi": "पहले पता करें कि दोनों बच्चों के पास कुल कितने सेब हैं। फिर खाए गए सेब घटाएँ।",
}


@pytest.mark.parametrize("question", HINTS)
@pytest.mark.parametrize("hint", HINTS)
def test_a_hint_in_the_language_of_the_question_and_in_every_other_one(question, hint):
    reason = wrong_language(HINTS[hint], {"prompt": HINTS[question]})
    if hint == question:
        assert reason is None
    else:
        assert reason is not None
        assert reason == ("wrong_language", f"it is in '{hint}', but the question is in '{question}'")


@pytest.mark.parametrize("language", HINTS)
def test_a_configured_language(language):
    english = {"prompt": HINTS["en"]}
    assert wrong_language(HINTS[language], english, language=language) is None
    if language != "en":
        sentence = wrong_language(HINTS["en"], english, language=language).sentence
        assert sentence == f"it is in 'en', but it must be in '{language}'"


@pytest.mark.parametrize(
    ("question", "hint"),
    [
        # Nothing to tell a language by, on either side.
        ("12 + 34 - 5 = ?", HINTS["de"]),
        ("What is 12 + 34?", HINTS["de"]),
        (HINTS["en"], "$x = y$, dann $y^2$"),
        (HINTS["en"], "12 + 34 - 5"),
        (HINTS["en"], ""),
        (HINTS["en"], "Addiere."),
        (HINTS["ja"], "求和"),  # in two of its signs, Japanese may look Chinese
        (HINTS["en"], "ax by cz mn op qr st uv wx yz ab cd ef gh"),
        ("Bayes, Gauss, Euler, Newton, Leibniz, Fermat?", HINTS["en"]),
        # Formulas, code and names of functions are in no language.
        (HINTS["de"], r"$\text{the sum of all the apples of the children}$"),
        (HINTS["de"], "`def total(apples, eaten): return apples - eaten`"),
        (HINTS["de"], "```python\nprint('how many apples do both of the children have')\n```"),
        (HINTS["de"], r"\begin \frac \sqrt \mathbb \displaystyle \operatorname \left \right"),
    ],
)
def test_without_a_verdict_nothing_is_said(question, hint):
    assert wrong_language(hint, {"prompt": question}) is None


def test_close_relatives_are_not_told_apart():
    question = "Canto é a suma de dous números?"  # Galician, and nearly Portuguese
    assert wrong_language("Passo 1: some os dois primeiros números e depois subtraia.", {"prompt": question}) is None
    assert wrong_language(HINTS["pt"], {"prompt": question}) is None, (
        "certainly no Galician, but the question may not be"
    )


def test_a_system_prompt_may_be_in_another_language():
    chat = [{"role": "system", "content": HINTS["en"] * 3}, {"role": "user", "content": HINTS["de"]}]
    assert wrong_language(HINTS["de"], {"prompt": chat}) is None
    assert wrong_language(HINTS["en"], {"prompt": chat})


def test_half_a_surrogate_pair_is_no_reason_to_fail():
    assert isinstance(languages_of(HINTS["en"] + "\ud83d"), dict)


def test_what_cannot_be_told_is_said_at_once(monkeypatch):
    check_language(None)
    check_language("de")
    with pytest.raises(ConfigError, match=r"^language: 'german' is not one of the \d+ that py3langid knows"):
        check_language("german")
    monkeypatch.setattr("dopd_lightning.hints.language.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[privilege\]' in a checkout .*, or use language=any"):
        check_language(None)
