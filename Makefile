# Two commands do everything: `make demo` runs the exporter against its own Cognito, `make test` runs all checks.
# Each first sets up what it needs in .venv, once, and again when a lock file changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Stamps named after what they were made from: another lock or another pyproject.toml means another stamp.
DEPENDENCIES := $(VENV)/.dependencies-$(shell cksum < requirements-dev.lock | tr ' ' '-')
SETUP := $(VENV)/.project-$(shell cat requirements-dev.lock pyproject.toml | cksum | tr ' ' '-')

# The machine's own settings say where packages come from; those that would change what or where is installed do not apply.
PIP := PIP_CONSTRAINT=/dev/null PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --no-compile
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --quiet

unexport PYTHONHOME PYTHONPATH
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test bench lint format docs dashboards lock tools clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(SETUP) ## Run the exporter against the bundled Cognito emulation; Ctrl-C ends it
	@exec $(BIN)/cognito-device-exporter demo

test: lint tools ## Run every check: lint, types, import rules, then all tests
	@$(BIN)/pytest -n 2 --dist loadgroup -m 'not alone' --cov --cov-report= --cov-fail-under=0
	@$(BIN)/pytest -m alone --cov --cov-append

bench: $(SETUP) ## Measure what it costs, beside its peers, into bench/RESULTS.md: ten minutes on a quiet machine
	@tools/install_tools.sh bench
	@$(BIN)/python -m bench

lint: $(SETUP) ## Run the quick checks: format, lint, types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(SETUP) ## Format the code and fix what can be fixed mechanically
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

docs: $(SETUP) ## Write the generated documentation and rules anew
	@$(BIN)/python -m tools.generate_docs
	@$(BIN)/python -m grafana.prometheus

dashboards: $(SETUP) ## Write Grafana's dashboards anew from their code
	@$(BIN)/python -m grafana.dashboards.source

lock: $(SETUP) ## Resolve the dependencies anew into the two lock files
	@$(LOCK) --upgrade --output-file requirements.lock
	@$(LOCK) --upgrade --extra emulator --extra tracing --group dev --constraint requirements.lock --output-file requirements-dev.lock

tools: ## Install the real programs that tests run, where root allows
	@tools/install_tools.sh

clean: ## Remove everything that was made
	@rm -rf $(VENV) build dist .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEPENDENCIES):
	@tools/create_venv.sh "$(PYTHON)" $(VENV)
	@$(PIP) --require-hashes --requirement requirements-dev.lock
	@touch $@

$(SETUP): $(DEPENDENCIES)
	@rm -f $(VENV)/.project-*
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
