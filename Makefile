# Every target creates its virtual environment. You only need Python >= 3.11 with venv.
# Use another environment for another interpreter: make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install
LAYERS := .venv-lint/bin/lint-imports
UV := .venv-uv/bin/uv
# Without stored bytecode, each of the tests' processes would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test hunt mutate test-system test-receivers load-test lowest lint docs bench schema devices lock deb
.PHONY: release reproducible clean

demo: $(RUNTIME)  ## run a simulated site, the agent and a receiver, live on the terminal
	@$(BIN)/telemetry-agent demo

test: $(VENV)/.compiled  ## run all tests, eight in parallel, because most tests wait for daemons and devices
	$(BIN)/python -m pytest --numprocesses 8 --dist worksteal

# Otherwise each of the eight processes would compile all modules, and rewrite the assertions of all tests.
$(VENV)/.compiled: $(STAMP)
	@echo "Compiling the agent and its tests."
	@$(BIN)/python -m compileall -q agent drivers benchmarks
	@$(BIN)/python -m pytest --collect-only -qq tests/agent >/dev/null & \
	$(BIN)/python -m pytest --collect-only -qq --ignore tests/agent >/dev/null; wait
	@touch $@

MINUTES ?= 10
hunt: $(STAMP)  ## run property tests with random examples for MINUTES=10; a failure prints the example to commit
	$(BIN)/python -m tests.hunt --minutes $(MINUTES)

mutate: MINUTES = 30
mutate: $(STAMP)  ## change the code at random for MINUTES=30; SEED and COUNT choose the changes; prints those that no test notices
	$(BIN)/python -m tests.mutation --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT)) $(PATHS)

test-system: $(STAMP)  ## boot a clean Debian and test the service on it; skips if root or Debian's mirror is missing
	$(BIN)/python -m pytest -m system -rs --durations=5 tests/system

# A separate environment: nothing of it belongs to the agent.
test-receivers: $(STAMP) .venv-receivers/.installed  ## run the recipes of docs/receivers.md; installs Telegraf and Node-RED, and skips what it cannot have
	$(BIN)/python -m pytest -m receivers -rs --durations=5 tests/receivers

load-test: $(STAMP) .venv-receivers/.installed  ## send the messages of SITES=10000 for MINUTES=3 to the endpoint for a fleet
	$(BIN)/python -m tests.receivers.load --sites $(or $(SITES),10000) --minutes $(or $(LOAD_MINUTES),3)

.venv-receivers/.installed: tests/receivers/install docs/examples/fleet-endpoint/requirements.txt
	PYTHON=$(PYTHON) tests/receivers/install .venv-receivers
	@touch $@

lint: $(STAMP) $(LAYERS)  ## run ruff, mypy strict, and the layer rules of .importlinter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(LAYERS)

# A separate environment: import-linter installs click, and httpx imports rich if click is installed.
$(LAYERS):
	$(PYTHON) -m venv --clear .venv-lint
	.venv-lint/bin/python -m pip --quiet --disable-pip-version-check install import-linter==2.17

# A separate environment, as for the layers: mkdocs brings click too.
DOCS := .venv-docs/.installed
docs: $(DOCS)  ## build the documentation as a site into build/docs; a warning is an error
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

$(DOCS): .ci/requirements-docs.lock
	$(PYTHON) -m venv --clear .venv-docs
	.venv-docs/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes --requirement $<
	@touch $@

bench: $(STAMP)  ## measure speed and memory, as ratios within one run
	$(BIN)/python -m compileall -q agent drivers benchmarks  # an installed agent is compiled
	$(BIN)/python -m benchmarks

# Every package has the version and one of the hashes of its lock file.
$(RUNTIME): pyproject.toml requirements.lock
	@echo "Creating $(VENV) with $$(grep -c == requirements.lock) packages; this takes up to a minute."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) --require-hashes --requirement requirements.lock
	@echo "Installing the agent from this checkout."
	@$(PIP) --no-deps --editable .
	@touch $@

$(STAMP): $(RUNTIME) requirements-dev.lock
	@echo "Adding the packages for tests and linters."
	@$(PIP) --require-hashes --requirement requirements-dev.lock
	@command -v npm >/dev/null && npm install --prefix $(VENV)/node --silent --no-audit --no-fund --no-package-lock \
		--ignore-scripts --fetch-retries 0 --fetch-timeout 30000 standardwebhooks@1.1.1 axe-core@4.14.1 || \
		echo "cannot install standardwebhooks and axe-core from npm; the tests that need them are skipped"
	@touch $@

schema: $(STAMP)  ## write the published JSON Schemas, the OpenAPI document and docs/configuration.md from the types in the code
	$(BIN)/python -m agent.contract.schema docs/schema
	$(BIN)/python -m agent.contract.openapi docs/schema/openapi.json
	$(BIN)/python -m agent.commissioning.config_reference docs/configuration.md

devices: $(STAMP)  ## write docs/devices.md and the README's list of makers from the profiles and captures
	$(BIN)/python -m drivers.profile.device_table

$(UV):
	$(PYTHON) -m venv --clear $(@D)/..
	$(@D)/python -m pip --quiet --disable-pip-version-check install uv==0.13.9

LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade

lock: $(UV)  ## update the versions and hashes in the lock files; review the diff
	$(LOCK) pyproject.toml --output-file requirements.lock
	$(LOCK) pyproject.toml --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	$(LOCK) .ci/requirements-docs.in --output-file .ci/requirements-docs.lock

lowest: $(UV)  ## run all tests with the oldest versions of the dependencies that pyproject.toml allows
	$(UV) venv --quiet --clear --python $(PYTHON) .venv-lowest
	VIRTUAL_ENV=.venv-lowest $(UV) pip install --quiet --resolution lowest-direct --editable '.[dev]'
	.venv-lowest/bin/python -m pytest --numprocesses 8 --dist worksteal -W 'ignore::DeprecationWarning:typer'

deb: $(STAMP)  ## build the Debian package for the architecture of this machine
	BIN=$(BIN) debian/release --deb $$(dpkg --print-architecture)

release: $(STAMP)  ## build wheel, sdist, bundles, Debian packages, SBOM and notices into dist/; see docs/releasing.md
	rm -rf dist
	$(PYTHON) -m venv --clear .venv-release
	.venv-release/bin/python -m pip --quiet --disable-pip-version-check install cyclonedx-bom==7.5.0 pip-licenses==5.5.5
	mkdir -p dist
	.venv-release/bin/cyclonedx-py requirements requirements.lock --output-reproducible --of JSON --output-file dist/sbom.cdx.json
	$(PYTHON) -m venv --clear .venv-notices
	.venv-notices/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes --requirement requirements.lock
	.venv-release/bin/pip-licenses --python .venv-notices/bin/python --format plain-vertical --with-license-file --no-license-path \
		--output-file dist/THIRD-PARTY-NOTICES.txt
	BIN=$(BIN) debian/release

reproducible: release  ## build the release again, in another directory with another umask and time zone, and compare
	git diff --quiet HEAD
	rm -rf build/again
	git clone --quiet . build/again
	umask 077 && TZ=Asia/Tokyo $(MAKE) --directory build/again release PYTHON=$(PYTHON)
	diff dist/SHA256SUMS build/again/dist/SHA256SUMS

clean:
	rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
