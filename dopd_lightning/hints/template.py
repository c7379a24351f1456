"""Prompts for a model, rendered from Jinja files of the package or of the user."""

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
    "answer": "the example's 'answer', or the answer that its 'completion' marks",
    "language": "privilege.language",
}


class Template:
    """Prompt with placeholders, read and checked on creation.

    Args:
        name: name of a template in the package (``steps``, ``summary``, ``judge``, …), or path of another file.
        setting: name of the setting in errors.
        known: placeholders that a template may have.
        needed: placeholders that a template must have.

    Attributes:
        source: text of the template.

    Raises:
        ConfigError: if there is no such file, it is not a template, has an unknown placeholder or lacks a needed one.
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
        """Return the message to the model. Missing values are undefined, so that a template can test for them.

        Args:
            example: example with question, solution and answer.
            where: place for errors, such as ``row 7``.
            kind: kind of the hint.
            language: language of the hint, if not the question's.
            hint: hint to judge.

        Raises:
            DataError: if the template uses a value that the example lacks.
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
                f"{where}: the template {self.name!r} uses a value that is missing: {error}"
                + (f". It comes from {source}" if source else "")
                + "; add it, or give a template of your own without it"
            ) from error
        except (TemplateError, TypeError, ValueError) as error:
            raise DataError(f"{where}: the template {self.name!r} fails: {error}") from error


def _read(name: str, setting: str) -> str:
    folder = files("dopd_lightning.hints") / "templates"
    own = {entry.name.removesuffix(".jinja"): entry for entry in folder.iterdir() if entry.name.endswith(".jinja")}
    file = own.get(name) or Path(name).expanduser()
    try:
        if isinstance(file, Path) and file.exists() and not file.is_file():  # reading a pipe may never end
            raise OSError(None, "it is not a regular file")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{setting}: {name!r} cannot be read ({getattr(error, 'strerror', error)}); give the path of a Jinja file, "
            f"or one of {', '.join(sorted(own))}"
        ) from error
