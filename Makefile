# Everything a newcomer or a contributor runs. Needs Python 3.11 or newer, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VENV_PEERS := .venv-peers
CONFIG ?= config.toml
ARGS ?=
MINUTES ?=
PYTEST_ARGS ?=
SEEDS ?= 10000

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo demo-exit serve test test-system container-system container-proof check format docs bench bench-check bench-peers scale soak crash powercut simulate inject mutate lock audit clean

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# pip checks every download against the hashes in the locks; setuptools comes first
# because one dependency is published as source only and must be built with it.
$(VENV)/installed-runtime: requirements/build.lock requirements/runtime.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "heap-cordial needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/build.lock
	$(BIN)/python -m pip install --quiet --require-hashes --no-build-isolation -r requirements/runtime.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed-runtime requirements/dev.lock
	$(BIN)/python -m pip install --quiet --require-hashes --no-build-isolation -r requirements/dev.lock
# The tests are compiled once here, as pip does with what it installs: else each of the suite's workers would do it.
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --collect-only -qq >/dev/null
	@touch $@

install: $(VENV)/installed-runtime ## make the virtual environment with the locked dependencies

install-dev: $(VENV)/installed-dev ## the same, with the tools for tests and checks

demo: install ## everything on loopback: stand-in Cordial, service, a segment of 10; stays up for the browser
	$(BIN)/python -m service demo $(ARGS) $(filter-out $@,$(MAKECMDGOALS))

demo-exit: install ## the demo, ending by itself: status 0 only if the counts were exact
	$(BIN)/python -m service demo --exit

serve: install ## the service, with CONFIG=config.toml
	$(BIN)/python -m service serve --config $(CONFIG)

# Takes programs that are called as the Debian packages they come in.
define install_programs
@PATH="$$PATH:/usr/sbin:/sbin"; missing=""; \
for program in $(1); do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
if [ -n "$$missing" ]; then \
  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
  else echo "the tests need$$missing; install first, on Debian: sudo apt-get install$$missing"; exit 1; fi; fi
endef

test-system: ## install the system packages the tests need, or name them
	$(call install_programs,chromium-headless-shell openssl curl strace)

container-system: ## the same for the tests of the image, of the set-ups and of completion, which are skipped without
	$(call install_programs,mmdebstrap caddy zsh fish)

container-proof: install-dev container-system ## as root: build the image's steps in a clean root, run the service there
	HOST_TOOLS=required $(BIN)/python -m pytest --numprocesses 0 tests/container $(PYTEST_ARGS)

# Eight workers, on two cores too: the suite waits much. A file's tests stay together, since some share a browser or
# ports. Whatever the environment says, bytecode is kept: else each of some hundred processes would compile the program anew.
# Files begin in the order of tests/conftest.py, and not in that of how many tests they have.
test: install-dev test-system ## the whole test suite
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 8 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: install-dev ## ruff, mypy strict, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_import_directions.py

format: install-dev ## let ruff order and format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

docs: install ## renew docs/configuration.md, and the conditions in docs/operations.md
	$(BIN)/python -m tools.configuration_reference
	$(BIN)/python -m tools.conditions_reference

bench: install-dev ## benchmarks: each figure as a ratio to a baseline of the same run
	$(BIN)/python -m benchmarks $(ARGS)

bench-check: install-dev ## fail when a page or a call costs much more CPU than it did, by ratios to a baseline of the same run
	$(BIN)/python -m benchmarks.check

$(VENV_PEERS)/installed: requirements/peers.lock
	@test -x $(VENV_PEERS)/bin/python || $(PYTHON) -m venv $(VENV_PEERS)
	$(VENV_PEERS)/bin/python -m pip install --quiet --require-hashes -r requirements/peers.lock
	@touch $@

bench-peers: install-dev $(VENV_PEERS)/installed ## the same job done by the service and by what one would use instead
	@if ! command -v redis-server >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null; \
	  else echo "one of the peers needs redis-server; install it first, on Debian: sudo apt-get install redis-server"; exit 1; fi; fi
	$(BIN)/python -m benchmarks.peers $(ARGS)

scale: install-dev ## 100 accounts, 1,000 segments, 10 million members at once, half an hour to an hour; less with ARGS="--accounts 10 …"
	$(BIN)/python -m benchmarks.scale $(ARGS)

soak: install-dev ## 100 senders, 1,000 pages of 1,000 users, kill -9 in the middle, every list compared; MINUTES=120 goes on with faults
	$(BIN)/python -m tests.crash.soak $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

crash: install-dev ## 200 times kill -9 at random moments under load; ends with what each crash cost
	$(BIN)/python -m tests.crash.kills $(ARGS)

powercut: install-dev test-system ## 2,000 disks that a power cut may leave, each opened, completed and compared; fewer with ARGS="--disks 100"
	$(BIN)/python -m tests.powercut $(ARGS)

simulate: install-dev ## 10,000 lives of the service in virtual time; fewer with SEEDS=300, one plan again with ARGS="--plan FILE"
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

inject: install-dev ## each call to the store and to Cordial in one scenario fails once, in each way
	$(BIN)/python -m tests.simulation --inject $(ARGS)

mutate: install-dev ## change the code that decides, one small thing at a time: a fast test must fail each time, 10 to 20 minutes
	$(BIN)/python -m tests.mutation $(ARGS)

lock: install-dev ## renew the locks from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements/runtime.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links pyproject.toml --group dev -c requirements/runtime.lock -o requirements/dev.lock
	echo setuptools | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links - -o requirements/build.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links requirements/peers.in -c requirements/runtime.lock -o requirements/peers.lock

audit: ## look the locked packages up among known vulnerabilities (needs pip-audit, and its data at hand)
	@command -v pip-audit >/dev/null || { echo "pip-audit is missing; install it, for example: pipx install pip-audit"; exit 1; }
	pip-audit --strict --disable-pip --require-hashes -r requirements/runtime.lock

clean: ## remove what make made
	rm -rf $(VENV) $(VENV_PEERS) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# `make demo -- --exit` passes the option through: make sees it as a goal of its own.
ifeq (demo,$(firstword $(MAKECMDGOALS)))
--%:
	@:
endif
