# make quickstart   set up, then distil a student on its own answers (minutes, on a CPU)
# make test         set up, then linter, type checker, tests
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test clean

quickstart: .venv/installed
	$(BIN)/python -m dopd_lightning +experiment=quickstart

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# torch comes first and by itself: once a build of it is there, nothing pulls another.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv
