# The two commands of this repository are `make demo` and `make test`. They need Python >= 3.11, make and a C
# compiler; uv is used when it is on PATH, else venv and pip. `make` alone lists everything.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
PYTHON ?= $(shell for one in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$one" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$one"; break; }; done)
UV ?= $(shell command -v uv 2>/dev/null)
ARGS ?=
PYTEST_ARGS ?= -n 2

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.PHONY: demo
demo: $(STAMPS)/demo ## start everything on this machine, send images, show the table (ARGS=--exit: check and leave)
	@$(BIN)/ecogate demo $(ARGS)

.PHONY: test
test: $(STAMPS)/dev ## run the whole test suite (PYTEST_ARGS=...)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: faults
faults: $(STAMPS)/dev ## kill, freeze, slow down and forget everything on purpose (15 minutes at most)
	@timeout 900 $(BIN)/python -m pytest -m "" $(PYTEST_ARGS) tests/faults tests/budgets/test_ledger_faults.py tests/e2e

.PHONY: mutants
mutants: $(STAMPS)/dev ## break the ledger on purpose, line by line, and see that a test notices
	@$(BIN)/python -m tests.mutants

.PHONY: soak
soak: $(STAMPS)/dev ## the long runs, about an hour on a quiet machine (ARGS="--minutes 1 --seeds 200" for less)
	@$(BIN)/python -m tests.soak $(ARGS)

.PHONY: contract
contract: $(STAMPS)/dev $(STAMPS)/clients ## drive the gateway with the clients that people use, Python and Node
	@ECOGATE_CONTRACT=$(CURDIR)/$(VENV)/clients $(BIN)/python -m pytest $(PYTEST_ARGS) \
		tests/contract/test_clients.py tests/contract/test_conversations.py tests/contract/test_aimock.py

.PHONY: real-upstream
real-upstream: $(STAMPS)/dev $(STAMPS)/real-upstream ## put a real, tiny diffusion model on this CPU behind the gateway (2 GB)
	@$(BIN)/python benchmarks/real_upstream.py $(CURDIR)/$(VENV)/real-upstream/bin/python

$(STAMPS)/real-upstream: tests/contract/real_upstream.txt
	@$(PYTHON) -m venv $(VENV)/real-upstream
	@$(VENV)/real-upstream/bin/python -m pip install -qq --disable-pip-version-check -r $<
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/clients: tests/contract/install.sh tests/contract/node/package-lock.json $(STAMPS)/dev
	@PYTHON=$(PYTHON) tests/contract/install.sh $(CURDIR)/$(VENV)/clients
	@touch $@

.PHONY: check
check: $(STAMPS)/dev ## static checks: format, lint, types, import contracts, the files that ship
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/ecogate check --deployments deploy/deployments.example.yaml --policies policies
	$(BIN)/ecogate openapi | diff -u openapi/ecogate.yaml - || { echo "run 'make openapi'" >&2; exit 1; }

.PHONY: openapi
openapi: $(STAMPS)/dev ## write openapi/ecogate.yaml again, from the routes
	$(BIN)/ecogate openapi --output openapi/ecogate.yaml

.PHONY: format
format: $(STAMPS)/dev ## format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: lock
lock: ## pin every dependency again (needs uv); UPGRADE=1 takes newer versions
	@test -n "$(UV)" || { echo "make lock needs uv on PATH" >&2; exit 1; }
	$(COMPILE) pyproject.toml requirements/build.in --all-extras --group dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml requirements/build.in --extra demo -c requirements/dev.txt -o requirements/demo.txt
	$(COMPILE) requirements/build.in -c requirements/dev.txt -o requirements/build.txt
	$(COMPILE) pyproject.toml --extra postgres --extra granian -c requirements/dev.txt -o requirements/gateway.txt
COMPILE = $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
	--python-version 3.11 $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean: ## remove the venv, caches and what the demo left
	rm -rf $(VENV) data/demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp per set of pins; the package itself is installed in place, without a network or a build venv.
$(STAMPS)/%: requirements/%.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python" >&2; exit 1; }
	@UV="$(UV)" PYTHON="$(PYTHON)" requirements/install.sh $(VENV) requirements/$*.txt
	@mkdir -p $(STAMPS) && touch $@
