# Every target makes its own virtual environment; nothing has to be installed by hand but Python >= 3.11 with venv.
# Another interpreter has another environment: make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LAYERS := .venv-lint/bin/lint-imports

.PHONY: demo test hunt test-system lint bench schema lock clean

demo: $(STAMP)  ## a simulated site, a receiver and the agent between them, live on the terminal
	@$(BIN)/telemetry-agent demo

test: $(STAMP)  ## the whole suite; four at a time, as most of it waits for daemons and devices
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal

MINUTES ?= 10
hunt: $(STAMP)  ## property tests at random for MINUTES=10; a failure prints the example to commit
	$(BIN)/python -m tests.hunt --minutes $(MINUTES)

test-system: $(STAMP)  ## the service on a clean Debian that it boots; needs root and Debian's mirror, says so without
	$(BIN)/python -m pytest -m system -rs --durations=5 tests/system

lint: $(STAMP) $(LAYERS)  ## ruff, mypy strict, and the layers of .importlinter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(LAYERS)

# An environment of its own: import-linter brings click, and httpx loads rich into the daemon where click is installed.
$(LAYERS):
	$(PYTHON) -m venv --clear .venv-lint
	.venv-lint/bin/python -m pip --quiet --disable-pip-version-check install import-linter==2.17

bench: $(STAMP)  ## speed and memory, as ratios within one run
	$(BIN)/python -m benchmarks

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip --quiet --disable-pip-version-check install --constraint requirements.lock --editable '.[dev]'
	@command -v npm >/dev/null && npm install --prefix $(VENV)/node --silent --no-audit --no-fund --no-package-lock \
		--ignore-scripts --fetch-retries 0 --fetch-timeout 30000 standardwebhooks@1.1.1 || \
		echo "no standardwebhooks from npm here; the tests with it are skipped"
	@touch $@

schema: $(STAMP)  ## the published JSON Schemas, from the code's types
	$(BIN)/python -m agent.contract.schema docs/schema

lock:  ## the versions that the tests run with; review the diff
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip --quiet --disable-pip-version-check install --editable '.[dev]'
	$(BIN)/python -m pip freeze --exclude-editable > requirements.lock
	@touch $(STAMP)

clean:
	rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
