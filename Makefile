# What the README and the continuous integration call. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help run install test chaos fuzz bench check lock docs clean

help: ## List these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

run: $(VENV)/run.stamp ## Start everything here; without credentials against a simulated DingTalk
	@exec $(BIN)/python scripts/run.py

install: $(VENV)/run.stamp ## Make .venv and install what `make run` needs

# Tests wait for processes and servers most of the time, so several run beside each other. Those of a
# file stay together, as they share what they have started.
test: $(VENV)/dev.stamp ## Run all tests, WORKERS=3 at a time; ARGS= goes to pytest
	@scripts/system-packages
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: $(VENV)/dev.stamp ## Break everything in turn, on every broker, and count; see docs/reliability.md
	@scripts/system-packages
	@$(BIN)/python -m tests.chaos $(ARGS)

fuzz: $(VENV)/dev.stamp ## A million broken inputs to what reads the words of others; ARGS= --inputs N --only NAME
	@$(BIN)/python -m tests.fuzz $(ARGS)

check: $(VENV)/dev.stamp ## Lint, formatting, types, and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/bench.stamp ## Measure against other ways to run a bot; see docs/performance.md
	@scripts/system-packages
	@$(BIN)/python -m bench $(ARGS)

lock: $(VENV)/dev.stamp ## Pin what a deploy installs, in requirements.txt
	@$(BIN)/python scripts/lock.py

docs: $(VENV)/dev.stamp ## Write docs/configuration.md from the settings, and the table of texts
	@$(BIN)/python scripts/configuration.py
	@$(BIN)/python scripts/words.py

$(VENV)/bench.stamp: pyproject.toml $(VENV)/dev.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

clean: ## Remove .venv and caches; .data stays
	rm -rf $(VENV) .cache .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache build dist *.egg-info

# An order-only prerequisite below: the file's date says nothing, its absence does.
$(BIN)/pip:
	@scripts/check-python $(PYTHON)
	@echo "making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml | $(BIN)/pip
	@echo "installing into $(VENV) (once, takes a minute or two) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[run]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(BIN)/pip
	@echo "installing with development tools into $(VENV) (once, takes a minute or two) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/run.stamp
