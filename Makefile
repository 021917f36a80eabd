PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
DOCS_STAMP := $(VENV)/.installed-docs
# Each worker has servers of its own; two of them leave two cores idle for 40 % of the time.
TEST_WORKERS ?= 3

.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything pinned by hash

$(STAMP): pyproject.toml requirements/uv.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "walletq needs Python 3.11 or newer; say which: make setup PYTHON=/path/to/python3.13"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian: python3-venv)"; exit 2; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## See walletq at work: real servers, a few hundred orders, mails
	@$(BIN)/walletq demo

up: setup ## Start Kafka, PostgreSQL, an inbox and walletq; Ctrl-C stops them
	@$(BIN)/walletq up

test: setup ## Every tier of tests
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal $(PYTEST_ARGS)

test-unit: setup ## The tests that need no servers
	@$(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

test-containers: setup ## The integration tests on Docker containers
	@WALLETQ_TEST_SERVERS=containers $(BIN)/python -m pytest tests/integration $(PYTEST_ARGS)

SEEDS ?= 10000
simulate: setup ## The allocator under SEEDS=10000 seeded schedules of faults
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS)

mutants: setup ## Break walletq on purpose, one mistake at a time: the tests must see each
	@$(BIN)/python -m tests.mutants

protocol: setup ## Check the model of the protocol, and that broken ones are refused
	@$(BIN)/python -m tests.model_checker

MINUTES ?= 5
soak: setup ## A random mix of faults on real servers for MINUTES=5
	@$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(SOAK_ARGS)

bench-replay: $(BENCH_STAMP) ## Whether a replay of a million events holds: memory, speed, what it finds
	@$(BIN)/python -m benchmarks.replay

bench-churn: $(BENCH_STAMP) ## An hour of steady traffic: speed and sizes of tables every five minutes
	@$(BIN)/python -m benchmarks.churn

bench: $(BENCH_STAMP) ## walletq, other designs of the same job, and the floors: speed, latency, restarts
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-mail: $(BENCH_STAMP) ## Mails a second from one mailer, beside other ways to the same mails
	@$(BIN)/python -m benchmarks.mail

$(BENCH_STAMP): $(STAMP) requirements/bench.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/bench.txt
	@touch $@

letter-pictures: $(DOCS_STAMP) ## Take the pictures of docs/letters.md anew; needs Chromium
	@$(BIN)/python docs/letters/pictures.py

$(DOCS_STAMP): $(STAMP) requirements/docs.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/docs.txt
	@touch $@

lint: setup ## Format, lint, strict types, import direction
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: setup ## Rewrite the code in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

pins: setup ## Resolve the requirements files anew
	@echo 'uv' | $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header -o requirements/uv.txt -
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements/runtime.txt pyproject.toml
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements/dev.txt --extra embedded --group dev pyproject.toml
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements/bench.txt --constraints requirements/dev.txt --group bench
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements/build.txt --constraints requirements/dev.txt --group build
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements/docs.txt --constraints requirements/dev.txt --group docs

.PHONY: help setup demo up test test-unit test-containers simulate mutants protocol soak bench bench-mail bench-replay bench-churn letter-pictures lint format pins
