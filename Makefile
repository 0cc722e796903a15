# Everything a newcomer needs: `make demo` and `make test` do all the set-up themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# The lab of real hosts needs root on Debian; elsewhere its tests say in one line why they did not run.
DEBIAN_ROOT := $(shell test "$$(id -u)" = 0 && test -e /etc/debian_version && echo yes)

.PHONY: demo test test-all test-lab lint bench lab-up lab-down lab-reset completions clean help

help:
	@echo "make demo       a small move in the simulated world, with a crash and a resume on the way"
	@echo "make test       lint, types and the tests (within 15 minutes); make test-all: everything"
	@echo "make bench      the figures of docs/performance.md, measured here"
	@echo "make lab-up     real hosts on this machine (root on Debian); lab-reset, lab-down"

$(READY): pyproject.toml
	@sh tools/venv.sh $(PYTHON) $(VENV)
	@touch $@

$(VENV)/.bench: pyproject.toml $(READY)
	@$(BIN)/pip install --quiet --group bench
	@touch $@

demo: $(READY)
	@$(BIN)/cutover demo

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/mypy

test: lint packages
	@CUTOVER_REQUIRE_LAB=$(DEBIAN_ROOT) $(BIN)/python -m pytest -m "not slow"

test-all: lint packages
	@CUTOVER_REQUIRE_LAB=$(DEBIAN_ROOT) $(BIN)/python -m pytest

test-lab: packages
	@$(BIN)/python -m pytest -m lab tests

.PHONY: packages
packages: $(READY)
	@if [ "$(DEBIAN_ROOT)" = yes ]; then sh tests/lab/packages.sh; fi

bench: $(READY) $(VENV)/.bench packages
	@$(BIN)/python -m benchmarks

lab-up: packages
	@$(BIN)/python -m tests.lab up

lab-down: $(READY)
	@$(BIN)/python -m tests.lab down

lab-reset: $(READY)
	@$(BIN)/python -m tests.lab reset

# What is made from the code and committed: shell completion and docs/commands.md.
completions: $(READY)
	@$(BIN)/python -m tests.cli.generate

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
