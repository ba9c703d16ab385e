# Everything a developer needs. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup browser run demo test test-kill test-decorators test-faults test-routes lint bench bench-large requirements screenshots docs clean

help: ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.installed local/azurite/node_modules/.installed tests/browser/node_modules/.installed ## Install what the other commands need (they do it by themselves)

$(VENV)/.installed: requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed: set PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-dev.txt
	@touch $@

# Azurite, and axe-core for the browser tests.
%/node_modules/.installed: %/package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 20 or newer with npm is needed for Azurite: https://nodejs.org" >&2; exit 1; }
	@npm ci --prefix $* --no-audit --no-fund --loglevel=error
	@touch $@

browser: $(VENV)/.installed ## Find or install what the browser tests need (they are skipped without it)
	@$(BIN)/python -m tools.browsers

run: setup ## Start everything and print the console's address; Ctrl-C ends it
	@$(BIN)/python -m local up $(ARGS)

demo: setup ## Grant a simulated tenant's access without hands and print the receipt
	@$(BIN)/python -m local demo $(ARGS)

# A file's tests share what they start, so a file stays with one worker; tests wait for processes, so there is one more than cores.
test: setup browser ## Run all tests, in three processes
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-kill: setup ## Kill the functions host in three steps and let the sweep finish (about 4 minutes)
	@$(BIN)/python -m pytest -m long tests/e2e/test_killed_host.py $(ARGS)

test-decorators: setup ## Take every decorator of the functions away in turn and see the demo fail (about 4 minutes)
	@$(BIN)/python -m pytest -m long tests/e2e/test_decorators.py $(ARGS)

test-faults: setup ## Play 2,000 random schedules of the engine (about 3 minutes)
	@GRANTLINE_FAULT_SEEDS=2000 $(BIN)/python -m pytest tests/faults --timeout 900 $(ARGS)

test-routes: setup ## Compare the route model and the simulated tenant on 100,000 random messages (about 3 minutes)
	@$(BIN)/python -m tests.mailflow.agreement $(or $(COUNT),100000)

lint: setup ## Check style, types and generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: setup ## Measure, side by side, what has a target
	@$(BIN)/python -m bench.cold_start
	@$(BIN)/python -m bench.accounts_page
	@$(BIN)/python -m bench.mail_flow
	@$(BIN)/python -m bench.directory_sync

bench-large: setup ## Measure what takes longer: a sync of 500,000 users, and a sweep over 100,000 grants
	@$(BIN)/python -m bench.sweep
	@$(BIN)/python -m bench.directory_large

requirements: setup ## Compile the pinned requirements from pyproject.toml
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt
	@$(BIN)/uv pip compile -q --python-version 3.13 --no-header requirements-worker.in -o requirements-worker.txt

screenshots: setup browser ## Take the pictures of the README
	@$(BIN)/python -m tools.screenshots $(ARGS)

docs: setup ## Write the documents that come from the code
	@$(BIN)/python -m tools.documents

clean: ## Remove everything that the commands made
	rm -rf $(VENV) .venv313 local/azurite/node_modules tests/browser/node_modules .grantline .mypy_cache .ruff_cache .pytest_cache .hypothesis
