"""The commands and snippets of the documentation, as its pages show them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks/README.md",
]
LANGUAGES = {"bash", "python", "json", "jinja", "text"}
"""Languages of fenced blocks: commands, a snippet, a line of data, a template, or something to read only."""

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`((?:[A-Z_]+=\S+\s)*(?:python -m|pip install|make|torchrun|srun) [^`]+)`(?!`)")


@dataclass(frozen=True)
class Command:
    """One command of a page, its variables expanded.

    Attributes:
        words: its program and arguments, without the environment variables before them.
        where: the page.
    """

    words: tuple[str, ...]
    where: str

    def __str__(self) -> str:
        return " ".join(self.words)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of ``page`` in ``language``; an empty string: those of which it is not said."""
    return [body for found, body in _FENCED.findall(page.read_text(encoding="utf-8")) if found == language]


def commands(page: Path) -> list[Command]:
    """Every command of the page: of its ``bash`` blocks, in order, and then of its sentences and tables."""
    found = [words for block in blocks(page, "bash") for words in _in_script(block)]
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    found += [words for inline in _INLINE.findall(text) for words in _in_script(" ".join(inline.split()))]
    return [Command(tuple(words), page.relative_to(ROOT).as_posix()) for words in found]


def _in_script(script: str) -> list[list[str]]:
    found: list[list[str]] = []
    variables = {"SLURM_JOB_ID": "1"}
    for line in script.replace("\\\n", " ").splitlines():
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in ("&&", ";"):
                words.append(word)
                continue
            assigned = [word.partition("=") for word in words]
            if all(name.isupper() for name, _, _ in assigned):
                variables |= {name: value for name, _, value in assigned}
                words = []
            while words and re.match(r"[A-Z_]+=", words[0]):
                del words[0]
            if words:
                found.append(words)
            words = []
    return found
