# make train   install into .venv and train the default run on generated exams
# make test    install with the test tools and run the whole test suite
# make bench   measure this machine against plain code, less than an hour: docs/performance.md
# make check   lint, format and types, as CI does
# make help    this text
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

# The checkout comes before anything installed, so that an environment can serve several checkouts.
export PYTHONPATH := $(CURDIR)

DEPENDENCIES := pyproject.toml constraints.txt

.PHONY: help train test bench check format clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(VENV)/.installed: $(DEPENDENCIES)
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

train: $(VENV)/.installed
	$(BIN)/python -m mammo.train model=efficientnetb0 strategy=frozen_last_block

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses 2

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache mammo.egg-info
