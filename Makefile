# make train     install into .venv and train the default run on generated exams
# make test      install with the test tools and run the test suite
# make test-long what the suite does in short, longer: campaigns of damaged and hostile files, kills
# make quick     the quick tests, without those that start processes, for who changes a line
# make test-pythons  install and make quick with each Python from 3.11 to 3.14 that is here
# make test-lowest   the same with the lowest versions of packages that pyproject.toml allows
# make bench     measure this machine against plain code, less than an hour: docs/performance.md
# make torture   kill runs 200 times at chosen places and compare to the bit, ten minutes: docs/crashes.md
# make mutations read 4000 damaged files, some minutes: docs/bad-input.md
# make attacks   read 5000 hostile checkpoints, runs, sweeps, studies, configurations and tables: docs/bad-input.md
# make check     lint, format, types and the imports between rooms, as CI does
# make help      this text
#
# The documented studies, each with its table and figures in multirun/<target>-<data>:
# make reproduce-seeds        seeds 42, 43 and 44
# make reproduce-cv           three folds
# make reproduce-strategies   full fine-tuning, last block, head only
# make reproduce-binary       two classes, three folds
# make reproduce-hpo          a search of 12 trials
# Other data: make reproduce-cv DATA=archive ROOT=DIR ARGS=data.csv=FILE
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

DATA ?= phantom
ROOT ?=
# Further options; they win over what a study chooses.
ARGS ?=

# The checkout comes before anything installed, so that an environment can serve several checkouts.
export PYTHONPATH := $(CURDIR)

DEPENDENCIES := pyproject.toml constraints.txt

STUDIES := reproduce-seeds reproduce-cv reproduce-strategies reproduce-binary reproduce-hpo

.PHONY: help train test test-long quick test-pythons test-lowest mutations attacks torture bench check format clean $(STUDIES)
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
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --durations 30 -m 'not long'

test-long: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses 2 --durations 0 -m long

QUICK := -m 'not slow and not long' tests/test_*.py tests/cli tests/config tests/data tests/evaluation tests/models tests/runs \
         tests/support tests/training

quick: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(QUICK)

test-pythons:
	for version in 3.11 3.12 3.13 3.14; do \
	  if python$$version --version >/dev/null 2>&1; then \
	    echo "Python $$version" && $(MAKE) quick VENV=.venv-$$version PYTHON=python$$version || exit 1; \
	  else echo "Python $$version is not here"; fi; \
	done

# constraints.txt pins others: the test that compares with it is left out.
test-lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct '.[test]'
	.venv-lowest/bin/python -m pytest --numprocesses 2 --dist worksteal $(QUICK) \
	  --deselect tests/test_dependencies.py::test_every_package_is_pinned

mutations: $(VENV)/.installed-dev
	$(BIN)/python -W ignore -m tests.mutations --count 4000

# One thread each: two cases at a time.
attacks: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.attacks --count 5000

# Real data is studied as documented. Generated exams show in minutes what a study looks like, not what it finds: with
# the one network whose ImageNet weights never need a download (from random weights nothing is learnt in so few epochs),
# at the size of the quicker studies, and with the 60 women that `make train` has generated. Their classes are balanced,
# so nothing there makes full fine-tuning collapse. A search is 36 runs on up to six feature banks: smaller still.
ifeq ($(DATA),phantom)
SMALL := model=efficientnet_lite0 data.image_size=224
SMALL_SEARCH := data.image_size=128 train.epochs=8
endif
STUDY = $(BIN)/python -m mammo.train -m sweep.name=$@-$(DATA) data=$(DATA) $(if $(ROOT),'data.root=$(ROOT)') $(SMALL)

$(STUDIES): $(VENV)/.installed

reproduce-seeds:
	$(STUDY) experiment=reproduce_seeds seed=42,43,44 $(ARGS)

reproduce-cv:
	$(STUDY) experiment=reproduce_cv data.num_folds=3 data.fold=all $(ARGS)

reproduce-strategies:
	$(STUDY) experiment=reproduce_strategies strategy=full_finetune,frozen_last_block,head_only $(ARGS)

reproduce-binary:
	$(STUDY) experiment=reproduce_binary data.num_folds=3 data.fold=all $(ARGS)

# No study of this kind is documented: the ranges are those of hpo=density, the rest are the defaults.
reproduce-hpo:
	$(STUDY) hpo=density hpo.trials=12 hpo.folds=3 $(SMALL_SEARCH) $(ARGS)

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks

# One thread each: two runs at a time, and results that do not depend on it.
torture: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.torture --kills 200

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache mammo.egg-info
