"""Requests to a model, from templates of the package and of users."""

from __future__ import annotations

import pytest

from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.hints.kinds import KINDS
from dopd_lightning.hints.template import JUDGE_PLACEHOLDERS, WRITER_PLACEHOLDERS, Template

ROW = {
    "prompt": [{"role": "user", "content": "What is <12> + 34 & {{ 5 }}?"}],
    "answer": 41,
    "completion": "12 + 34 = 46\n46 - 5 = 41",
}


def writer(name):
    return Template(name, "template", known=WRITER_PLACEHOLDERS, needed=("question",))


def judge(name):
    return Template(name, "judge", known=JUDGE_PLACEHOLDERS, needed=("question", "hint"))


@pytest.fixture
def own(tmp_path):
    def written(source):
        path = tmp_path / "own.jinja"
        path.write_text(source, encoding="utf-8")
        return str(path)

    return written


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS.values() if kind.written])
def test_each_kind_that_is_written_has_a_template(kind):
    text = writer(kind).render(ROW, "row 0", kind=kind)
    assert "What is <12> + 34 & {{ 5 }}?" in text, "as it is: nothing escaped, nothing filled in"
    assert ROW["completion"] in text
    assert "Write in the language of the question." in text
    assert "Write in this language: de." in writer(kind).render(ROW, "row 0", kind=kind, language="de")
    assert "{{ question" not in text
    assert "{%" not in text


@pytest.mark.parametrize("kind", ["steps", "steps_executed"])
def test_the_judge_is_shown_the_hint_and_what_its_kind_keeps_back(kind):
    text = judge("judge").render(ROW, "row 0", kind=kind, hint="Add.")
    assert "Hint:\nAdd.\n" in text
    assert "Final answer:\n41\n" in text
    assert ("carries nothing out" in text) == (kind == "steps")
    bare = judge("judge").render({"prompt": "What?"}, "row 0", kind=kind, hint="Add.")
    assert "solution:" not in bare
    assert "Final answer:" not in bare


def test_a_template_of_ones_own(own):
    source = "{{ kind }}: {{ question }}{% if answer is defined %} ({{ answer }}){% endif %}"
    source += "{% for n in range(2) %}.{% endfor %}\n"
    template = writer(own(source))
    assert template.source == source
    assert template.render(ROW, "row 0", kind="steps") == "steps: What is <12> + 34 & {{ 5 }}? (41).."
    assert template.render({"prompt": "Why?"}, "row 0", kind="steps") == "steps: Why?.."


def test_a_longer_chat_is_told_with_its_roles(own):
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert writer(own("{{ question }}")).render({"prompt": chat}, "", kind="") == "system: Be brief.\n\nuser: Why?"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ question }} {{ soluton }}", r"^template: '.*own\.jinja' has \{\{ soluton \}\}, but there are only "),
        ("{{ question }} {{ hint }}", r"has \{\{ hint \}\}, but there are only \{\{ question \}\}, \{\{ solution \}\}"),
        ("Write a hint.", r"^template: '.*' has no \{\{ question \}\}; there are \{\{ question \}\}, "),
        ("{{ question }}\n{% if %}", r"^template: '.*own.jinja', line 2, is not a Jinja template: "),
        ("{{ question | nofilter }}", r"is not a Jinja template: No filter named 'nofilter'"),
    ],
)
def test_a_template_that_cannot_work(own, source, message):
    with pytest.raises(ConfigError, match=message):
        writer(own(source))


def test_a_judge_without_a_hint(own):
    with pytest.raises(ConfigError, match=r"^judge: '.*' has no \{\{ hint \}\}"):
        judge(own("{{ question }}"))


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(
        ConfigError, match=r"^template: 'stepz' cannot be read .*; give the path .* judge, steps, steps_ex"
    ):
        writer("stepz")
    (tmp_path / "own.jinja").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"^template: '.*own.jinja' cannot be read"):
        writer(str(tmp_path / "own.jinja"))


def test_a_row_without_what_the_template_uses(own):
    with pytest.raises(
        DataError, match=r"^row 7: the template 'steps' uses .*'solution'.* the example's 'completion'; add"
    ):
        writer("steps").render({"prompt": "Why?"}, "row 7", kind="steps")
    with pytest.raises(DataError, match=r"^row 7: the template '.*own.jinja' fails: "):
        writer(own("{{ question / 2 }}")).render(ROW, "row 7", kind="steps")
