# Everything is kept in one git-ignored folder of this clone; PEYVAND_HOME names another.
PEYVAND_HOME ?= $(CURDIR)/.peyvand
export PEYVAND_HOME
# Nine processes that each compile every module anew would take half a minute to start.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(PEYVAND_HOME)/venv/bin
PEYVAND := $(BIN)/python -m peyvand
# Any Python that is new enough may lay the house; the locked one lives in it.
PYTHON := $(shell for each in python3 python3.11 python3.12 python3.13; do $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && exit; done; echo none)
CODE := shared services deploy tests

.DEFAULT_GOAL := help
.PHONY: help setup run up test check bench storm drill lint contracts lock clean
.NOTPARALLEL:

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: python ## bring what is missing: Python packages, Kafka, MongoDB, page assets
	@$(PYTHON) deploy/setup.py

run: setup ## the whole country: Kafka, MongoDB, four services, a simulated round, a live ranking; Ctrl-C ends it
	@exec $(PEYVAND) run

up: setup ## the same with nothing simulated
	@exec $(PEYVAND) up

test: python ## everything that CI runs (25 minutes)
	@$(PYTHON) deploy/setup.py --tests
	@$(MAKE) --no-print-directory lint
	@exec $(BIN)/python -m pytest -q

check: setup ## the part that needs no server (one minute)
	@$(MAKE) --no-print-directory lint
	@exec $(BIN)/python -m pytest -q -m "not server and not long"

bench: setup ## measure how fast it is, on a quiet machine, and write docs/performance.md (15 minutes)
	@exec $(PEYVAND) bench --write

SEED ?= 7
FAULTS ?= 200
storm: setup ## kill, end and freeze every process of a country of its own under load: SEED=7 FAULTS=200 (half an hour)
	@exec $(PEYVAND) storm --seed $(SEED) --faults $(FAULTS)

drill: python ## cause every alert once on a real country, under a real Prometheus (four minutes)
	@$(PYTHON) deploy/setup.py --tests
	@PEYVAND_DRILL=1 $(BIN)/python -m pytest -q -s tests/live/test_alerts.py

lint: # style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(CODE)

contracts: setup ## make the published schemas, examples and AsyncAPI anew
	@$(BIN)/python -m contracts.publish

lock: python ## make the locks anew
	@$(PYTHON) deploy/setup.py lock

clean: ## remove what was run (data, logs, secrets); what is installed stays
	@test ! -x $(BIN)/python || $(PEYVAND) clean

.PHONY: python
python:
	@test "$(PYTHON)" != none || { echo "  ✗ Python 3.11 or newer is needed: sudo apt-get install -y python3"; exit 1; }
