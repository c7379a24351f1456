"""Docstrings begin with a noun or an imperative; public functions have examples, which run."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("dopd_lightning", "callbacks", "benchmarks", "examples", "study", "tests")
PACKAGES = {"dopd_lightning": "", "callbacks": "dopd_lightning."}
MODULES = [
    PACKAGES[folder] + ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in PACKAGES
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]
ROOMS = (
    *("functional", "callbacks", "compare", "data", "data.tasks", "divergence", "fusion", "hints", "inputs", "loggers"),
    *("maps", "memory", "policies", "record", "rollout", "scores", "sources"),
)
"""Modules whose ``__all__`` users import from."""
WITHOUT_EXAMPLE = {"print_tables", "responses_of", "save_student"}
"""Functions that need a run: docs/comparing.md, docs/watching.md and docs/configuration.md show them."""
REFUSED = {
    *("What", "Whether", "How", "Who", "Which", "Why", "Where", "When", "If", "As", "That", "Because"),
    *("Of", "From", "In", "For", "With", "By", "To", "At", "On", "Inside", "Under", "Behind"),
    *("Its", "It", "Is", "Not", "So", "And", "But"),
}
"""First words of a docstring that is no noun phrase and no imperative."""


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Docstrings of a module, its classes, functions and variables, with their lines."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        has_docstring = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for place, each in enumerate(body):
            is_text = isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
            follows = place > 0 and isinstance(body[place - 1], ast.Assign | ast.AnnAssign)
            if is_text and isinstance(each.value.value, str) and ((place == 0 and has_docstring) or follows):
                yield each.lineno, each.value.value


@pytest.mark.parametrize("folder", FOLDERS)
def test_they_begin_with_a_noun_or_an_imperative(folder):
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {text.strip().splitlines()[0]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in docstrings(path.read_text(encoding="utf-8"))
        if text.split()[0].strip(",.:`'") in REFUSED
    ]
    assert not wrong, "\n".join(wrong)


def test_docstrings_of_all_kinds_are_found():
    source = '"""One."""\nA = 1\n"""Two."""\nclass B:\n    """Three."""\n    c: int\n    """Four."""\n'
    assert [text for _, text in docstrings(source)] == ["One.", "Two.", "Three.", "Four."]


@pytest.fixture
def datasets_cache(tmp_path, monkeypatch):
    """Keep examples from writing to the user's cache of datasets."""
    if importlib.util.find_spec("datasets") is not None:
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.usefixtures("datasets_cache")
def test_examples_run(name):
    module = importlib.import_module(name)
    found = [each for each in doctest.DocTestFinder().find(module, globs=vars(module)) if each.examples]
    assert found
    runner = doctest.DocTestRunner()
    assert sum(runner.run(each).failed for each in found) == 0


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_have_an_example(room):
    module = importlib.import_module(f"dopd_lightning.{room}")
    named = {name: getattr(module, name) for name in module.__all__}
    functions = {name: each for name, each in named.items() if inspect.isfunction(each)}
    missing = [name for name, each in functions.items() if ">>> " not in (each.__doc__ or "")]
    assert {*missing} <= WITHOUT_EXAMPLE, f"{room}: {', '.join(missing)}"


def test_every_rule_has_an_example():
    module = importlib.import_module("dopd_lightning.fusion")
    rules = [each for each in vars(module).values() if inspect.isclass(each) and hasattr(each, "pairs")]
    assert len(rules) >= 10
    assert [each.__name__ for each in rules if ">>> " not in each.__doc__] == []
