"""Requests to a model, rendered from a Jinja file of the package or the user's own."""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, meta

from dopd_lightning.data import Example, completion_text
from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.hints.question import answer_of, question_of

WRITER_PLACEHOLDERS = ("question", "solution", "answer", "kind", "language")
JUDGE_PLACEHOLDERS = (*WRITER_PLACEHOLDERS, "hint")

_COMES_FROM = {
    "solution": "the example's 'completion'",
    "answer": "the example's 'answer', or what its 'completion' marks as one",
    "language": "privilege.language",
}


class Template:
    """A prompt with placeholders, read and checked when it is made.

    Args:
        name: of a file in the package (``steps``, ``summary``, ``judge``, …), or the path of any other.
        setting: what errors call it.
        known: the placeholders that there are.
        needed: those without which it is not possible.

    Attributes:
        source: its text.

    Raises:
        ConfigError: if there is no such file, it is no template, or has other placeholders or lacks a needed one.
    """

    def __init__(self, name: str, setting: str, *, known: Collection[str], needed: Collection[str]) -> None:
        self.name, self.source = name, _read(name, setting)
        environment = Environment(undefined=StrictUndefined, trim_blocks=False, keep_trailing_newline=False)
        try:
            used = meta.find_undeclared_variables(environment.parse(self.source)) - environment.globals.keys()
            self._template = environment.from_string(self.source)
        except TemplateSyntaxError as error:
            raise ConfigError(f"{setting}: {name!r}, line {error.lineno}, is not a Jinja template: {error}") from error
        except TemplateError as error:
            raise ConfigError(f"{setting}: {name!r} is not a Jinja template: {error}") from error
        there_are = ", ".join(f"{{{{ {placeholder} }}}}" for placeholder in known)
        for placeholder in sorted(used - set(known)):
            raise ConfigError(f"{setting}: {name!r} has {{{{ {placeholder} }}}}, but there are only {there_are}")
        for placeholder in needed:
            if placeholder not in used:
                raise ConfigError(f"{setting}: {name!r} has no {{{{ {placeholder} }}}}; there are {there_are}")

    def render(
        self, example: Example, where: str, *, kind: str, language: str | None = None, hint: str | None = None
    ) -> str:
        """The message to the model. What is not there is not defined, so that a template can ask for it.

        Args:
            example: gives question, solution and answer.
            where: the place named in errors, such as ``row 7``.
            kind: of the hint.
            language: that it is to have, if not the question's.
            hint: to judge.

        Raises:
            DataError: if the template uses what the example does not have.
        """
        values = {
            "question": question_of(example),
            "solution": completion_text(example) or None,
            "answer": answer_of(example),
            "kind": kind,
            "language": language,
            "hint": hint,
        }
        try:
            return self._template.render({name: value for name, value in values.items() if value is not None})
        except UndefinedError as error:
            lacking = next((name for name in values if f"'{name}'" in str(error)), None)
            source = _COMES_FROM.get(lacking or "", "")
            raise DataError(
                f"{where}: the template {self.name!r} uses what is not there: {error}"
                + (f". It would be {source}" if source else "")
                + "; add it, or give a template of your own that does without"
            ) from error
        except (TemplateError, TypeError, ValueError) as error:
            raise DataError(f"{where}: the template {self.name!r} fails: {error}") from error


def _read(name: str, setting: str) -> str:
    folder = files("dopd_lightning.hints") / "templates"
    own = {entry.name.removesuffix(".jinja"): entry for entry in folder.iterdir() if entry.name.endswith(".jinja")}
    file = own.get(name) or Path(name).expanduser()
    try:
        if isinstance(file, Path) and file.exists() and not file.is_file():  # a pipe would be waited for
            raise OSError(None, "it is not a regular file")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{setting}: {name!r} cannot be read ({getattr(error, 'strerror', error)}); give the path of a Jinja file, "
            f"or one of {', '.join(sorted(own))}"
        ) from error
