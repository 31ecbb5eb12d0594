# Everything is installed and run in one git-ignored folder of this clone, or in PEYVAND_HOME.
PEYVAND_HOME ?= $(CURDIR)/.peyvand
export PEYVAND_HOME
# Without bytecode files each of nine processes compiles every module: half a minute.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(PEYVAND_HOME)/venv/bin
PEYVAND := $(BIN)/python -m peyvand
# Any Python that is new enough can run the set-up; everything else uses the virtual environment.
PYTHON := $(shell for each in python3 python3.11 python3.12 python3.13; do $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && exit; done; echo none)
CODE := shared services deploy tests

.DEFAULT_GOAL := help
.PHONY: help setup run up test check bench chaos drill lint contracts lock sbom audit clean
.NOTPARALLEL:

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: python ## install what is missing: Python packages, Kafka, MongoDB, page assets
	@$(PYTHON) deploy/setup.py

run: setup ## run everything: Kafka, MongoDB, four services, a simulated round, a live ranking; Ctrl-C ends it
	@exec $(PEYVAND) run

up: setup ## run everything but the simulation
	@exec $(PEYVAND) up

test: python ## run all tests, as CI does (half an hour)
	@$(PYTHON) deploy/setup.py --tests
	@$(MAKE) --no-print-directory lint
	@exec $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

check: setup ## run the tests that need no server (one minute)
	@$(MAKE) --no-print-directory lint
	@exec $(BIN)/python -m pytest -q -n 2 -m "not server and not long"

bench: setup ## run the benchmarks on an idle machine and write docs/performance.md (15 minutes)
	@exec $(PEYVAND) bench --write

SEED ?= 7
FAULTS ?= 200
chaos: setup ## kill, end and freeze the processes of a separate platform under load: SEED=7 FAULTS=200 (half an hour)
	@exec $(PEYVAND) chaos --seed $(SEED) --faults $(FAULTS)

drill: python ## cause every alert once on a running platform with a real Prometheus (eleven minutes)
	@$(PYTHON) deploy/setup.py --tests
	@PEYVAND_DRILL=1 $(BIN)/python -m pytest -q -s tests/live/test_alerts.py

lint: # check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(CODE)

contracts: setup ## regenerate the published schemas, examples and AsyncAPI
	@$(BIN)/python -m contracts.publish

lock: python ## regenerate the locks
	@$(PYTHON) deploy/setup.py lock

sbom: setup ## write the bill of materials (CycloneDX) of everything that is locked to .peyvand/sbom.json
	@$(BIN)/python -m peyvand.dependencies sbom

audit: setup ## renew the list of known vulnerabilities from OSV, and compare it with the locks
	@$(BIN)/python -m peyvand.dependencies audit

clean: ## remove the run folder (data, logs, secrets); installed parts stay
	@test ! -x $(BIN)/python || $(PEYVAND) clean

.PHONY: python
python:
	@test "$(PYTHON)" != none || { echo "  ✗ Python 3.11 or newer is needed: sudo apt-get install -y python3"; exit 1; }
