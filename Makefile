# Every target creates its virtual environment. You only need Python >= 3.11 with venv.
# Use another environment for another interpreter: make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LAYERS := .venv-lint/bin/lint-imports
# Without stored bytecode, each of the tests' processes would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test hunt test-system lint bench schema devices lock clean

demo: $(STAMP)  ## run a simulated site, the agent and a receiver, live on the terminal
	@$(BIN)/telemetry-agent demo

test: $(STAMP)  ## run all tests, four in parallel, because most tests wait for daemons and devices
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal

MINUTES ?= 10
hunt: $(STAMP)  ## run property tests with random examples for MINUTES=10; a failure prints the example to commit
	$(BIN)/python -m tests.hunt --minutes $(MINUTES)

test-system: $(STAMP)  ## boot a clean Debian and test the service on it; skips if root or Debian's mirror is missing
	$(BIN)/python -m pytest -m system -rs --durations=5 tests/system

lint: $(STAMP) $(LAYERS)  ## run ruff, mypy strict, and the layer rules of .importlinter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(LAYERS)

# A separate environment: import-linter installs click, and httpx imports rich if click is installed.
$(LAYERS):
	$(PYTHON) -m venv --clear .venv-lint
	.venv-lint/bin/python -m pip --quiet --disable-pip-version-check install import-linter==2.17

bench: $(STAMP)  ## measure speed and memory, as ratios within one run
	$(BIN)/python -m benchmarks

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip --quiet --disable-pip-version-check install --constraint requirements.lock --editable '.[dev]'
	@command -v npm >/dev/null && npm install --prefix $(VENV)/node --silent --no-audit --no-fund --no-package-lock \
		--ignore-scripts --fetch-retries 0 --fetch-timeout 30000 standardwebhooks@1.1.1 || \
		echo "cannot install standardwebhooks from npm; the tests that need it are skipped"
	@touch $@

schema: $(STAMP)  ## write the published JSON Schemas from the types in the code
	$(BIN)/python -m agent.contract.schema docs/schema

devices: $(STAMP)  ## write docs/devices.md and the README's list of makers from the profiles and captures
	$(BIN)/python -m drivers.profile.device_table

lock:  ## update the pinned versions of the dependencies; review the diff
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip --quiet --disable-pip-version-check install --editable '.[dev]'
	$(BIN)/python -m pip freeze --exclude-editable > requirements.lock
	@touch $(STAMP)

clean:
	rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
