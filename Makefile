# make quickstart   set up, then distil a student on its own answers (minutes, on a CPU)
# make test         set up, then linter, type checker, tests, and some of these at the lowest versions of pyproject.toml
PYTHON ?= python3
BIN := .venv/bin
LOWEST := .venv-lowest/bin/python
MARKED = -m lowest $(shell grep -rl --include='*.py' 'pytest.mark.lowest' tests)
# A worker takes tests that are next to each other, which share what is made once a file, and then others' tests.
XDIST := -n auto --maxprocesses 4 --dist worksteal

.PHONY: quickstart test types units chromium clean

quickstart: .venv/installed
	$(BIN)/python -m dopd_lightning +experiment=quickstart

test: .venv/installed .venv-lowest/installed chromium
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory -j 2 types units  # side by side: the type checker is one process, for minutes
	OMP_NUM_THREADS=1 $(LOWEST) -m pytest $(XDIST) -W default $(MARKED)  # old releases warn of newer ones

types: .venv/installed
	$(BIN)/mypy

units: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(XDIST)  # the models are too small for more threads

# The browser that tests/maps looks at pages with.
chromium:
	@command -v chromium > /dev/null || command -v chromium-browser > /dev/null || command -v google-chrome > /dev/null \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && apt-get update -qq && apt-get install -qq -y chromium; } \
	|| echo 'There is no Chromium, so tests of the page in tests/maps and tests/compare are skipped: apt-get install chromium brings it'

# torch comes first and by itself: once a build of it is there, nothing pulls another.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# The lowest versions in front of .venv, from which all else comes: torch, what they need, and what the tests need.
.venv-lowest/installed: .venv/installed tests/lowest.py
	$(BIN)/python -m venv --clear --without-pip .venv-lowest
	$(BIN)/python -c 'import sys; print(*(path for path in sys.path if path.endswith("-packages")), sep="\n")' \
		> "$$($(LOWEST) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/venv.pth"
	$(BIN)/python tests/lowest.py > .venv-lowest/requirements.txt
	$(BIN)/python -m pip --python $(LOWEST) install --quiet -r .venv-lowest/requirements.txt
	$(BIN)/python -m pip --python $(LOWEST) install --quiet --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv .venv-lowest
