# make setup | run | test | lint | bench | lock        (see CONTRIBUTING.md)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
# Installs what a lock file (1) lists, with more options of uv (2). uv takes a quarter of pip's time; pip steps in where only pip knows
# the index (uv reads no pip.conf).
INSTALL = $(UV) $(2) --require-hashes --no-deps -r $(1) || $(PIP) --require-hashes --no-deps -r $(1)
PACKAGES := api_roadbalancer producer_api workers jobs balancer
LITELLM := tests/litellm/.venv
CLIENTS := tests/clients/.venv
AUDIT := .venv-audit
HELM := tests/helm/.venv
FRAMEWORKS := tests/frameworks/.venv
LLAMAINDEX := tests/frameworks/.venv-llamaindex
EXCLUSIVE = $(shell grep -rl --include='test_*.py' 'mark.exclusive' tests/acceptance tests/unit)

.PHONY: unit setup run test lint types imports collected bench docker-check check-helm sbom audit attack test-endurance test-upgrade test-vllm test-litellm test-clients test-console lock clean

setup: $(VENV)/.ready

# Hash-checked installs of everything that runs; nothing is resolved or built from an index at this point.
$(VENV)/.ready: requirements-installer.lock requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --no-deps -r requirements-installer.lock
	$(call INSTALL,requirements.lock,--compile-bytecode)
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.ready requirements-dev.lock
	$(call INSTALL,requirements-dev.lock)
	@touch $@

run: setup
	@$(BIN)/roadbalancer run examples/prompts.jsonl -o out/results.jsonl --config examples/local.yaml

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports

# What reads the code; then tests side by side, six on two cores, since most wait for processes; then those that measure, three at
# once, each dealt when the one before has ended: they wait as well, and take half of two cores. Byte code is kept whatever the
# environment says: the tests start hundreds of processes.
test: export PYTHONDONTWRITEBYTECODE =
test:
	$(MAKE) --no-print-directory -j 4 lint types imports collected
	$(BIN)/python -m pytest -q -n 6 --dist worksteal -m "not exclusive" --durations=10
	$(BIN)/python -m pytest -q -n 3 --dist load --maxschedchunk 1 -m exclusive --durations=10 $(EXCLUSIVE)

# Byte code of the tests, with pytest's assertions, and of what they import: written once here, and not by each of the processes that
# run them. Those that take minutes are not run, but have to find their fixtures.
collected: $(VENV)/.dev
	@$(BIN)/python -m pytest -qq --collect-only >$(VENV)/collected.log || { cat $(VENV)/collected.log; exit 1; }
	@ENDURANCE=1 $(BIN)/python -m pytest -qq --setup-plan tests/endurance >$(VENV)/collected.log || { cat $(VENV)/collected.log; exit 1; }

# Pure code and single modules: seconds, and no server.
unit: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n 2 -m "not exclusive" tests/unit

bench: $(VENV)/.dev
	$(BIN)/python -m bench $(BENCH)

# Full-size scenarios on real processes, minutes each; `make test` has their small forms. One of them: make test-endurance ONLY=fairness
test-endurance: $(VENV)/.dev
	ENDURANCE=1 $(BIN)/python -m pytest -q --timeout 900 --durations=20 tests/endurance $(if $(ONLY),-k $(ONLY))

# Three hosts (network namespaces; needs root) whose processes are replaced under a job and under chats: those of FROM, a commit or a
# tag, by those of this tree. make test-upgrade FROM=v0.1.0
test-upgrade: $(VENV)/.dev
	old=$$(mktemp -d) && trap "git worktree remove --force $$old" EXIT && git worktree add --detach $$old $(FROM) && \
	  ENDURANCE=1 UPGRADE_FROM=$$old $(BIN)/python -m pytest -q -s --timeout 900 tests/endurance/test_three_hosts.py

# Against real vLLM servers, whatever they serve: make test-vllm VLLM_URLS=http://host:8000/v1,http://other:8000/v1, and one that was
# started with `--runner pooling`: VLLM_POOLING_URL=http://host:8000/v1. With VLLM_PIDS=1234,1235, the processes of two servers on this
# machine that have `--enable-prefix-caching`, jobs are run over them while they stop and go on. The first server is also measured with
# fixed and learned limits, for six minutes.
test-vllm: $(VENV)/.dev
	VLLM_URLS=$(VLLM_URLS) VLLM_PIDS=$(VLLM_PIDS) VLLM_POOLING_URL=$(VLLM_POOLING_URL) $(BIN)/python -m pytest -q tests/vllm

# The console in a real Chromium (Debian's package, or the one that CHROMIUM names). Pictures: make test-console CONSOLE_PICTURES=docs/pictures
test-console: $(VENV)/.console
	CONSOLE_PICTURES=$(CONSOLE_PICTURES) $(BIN)/python -m pytest -q tests/console

$(VENV)/.console: tests/console/requirements.txt $(VENV)/.dev
	$(BIN)/python -m pip --disable-pip-version-check --quiet install -r tests/console/requirements.txt
	touch $@

# LiteLLM's proxy with examples/litellm/config.yaml, and the handler in a program, against a LaaS on loopback. LiteLLM can't share an
# environment with the newest openai SDK, so it has its own; the LaaS runs in the project's.
test-litellm: $(VENV)/.dev $(LITELLM)/.ready
	FAKE_PROVIDERS_PYTHON=$(BIN)/python $(LITELLM)/bin/python -m pytest -q -c tests/litellm/pytest.ini --confcutdir tests/litellm tests/litellm

$(LITELLM)/.ready: tests/litellm/requirements.txt pyproject.toml
	$(PYTHON) -m venv --clear $(LITELLM)
	$(LITELLM)/bin/python -m pip --disable-pip-version-check --quiet install -r tests/litellm/requirements.txt --editable '.[litellm]'
	@touch $@

# The SDKs, commands and frameworks that people have, unmodified, against `roadbalancer up` with a simulated endpoint, and over Claude
# and Gemini; LiteLLM's proxy with the handler as well. They have environments of their own, the first with a Node. The newer pip is for resolving: that of Python
# 3.11 gives up on LangChain.
test-clients: export ROADBALANCER = $(abspath $(BIN)/roadbalancer)
test-clients: export FAKE_PROVIDERS_PYTHON = $(abspath $(BIN)/python)
test-clients: $(VENV)/.dev $(CLIENTS)/.ready $(FRAMEWORKS)/.ready $(LLAMAINDEX)/.ready test-litellm
	$(CLIENTS)/bin/python -m pytest -c tests/clients/pytest.ini --confcutdir tests/clients tests/clients
	$(FRAMEWORKS)/bin/python -m pytest -c tests/frameworks/pytest.ini --confcutdir tests/frameworks tests/frameworks \
	  --ignore tests/frameworks/test_llamaindex.py
	$(LLAMAINDEX)/bin/python -m pytest -c tests/frameworks/pytest.ini --confcutdir tests/frameworks tests/frameworks/test_llamaindex.py

$(CLIENTS)/.ready: tests/clients/requirements.txt tests/clients/package-lock.json
	$(PYTHON) -m venv --clear $(CLIENTS)
	$(CLIENTS)/bin/python -m pip --disable-pip-version-check --quiet install 'pip>=26'
	$(CLIENTS)/bin/python -m pip --quiet install -r tests/clients/requirements.txt
	PATH=$(abspath $(CLIENTS)/bin):$$PATH npm ci --prefix tests/clients --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(FRAMEWORKS)/.ready: tests/frameworks/requirements.txt
	$(PYTHON) -m venv --clear $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip --disable-pip-version-check --quiet install -r tests/frameworks/requirements.txt
	@touch $@

$(LLAMAINDEX)/.ready: tests/frameworks/requirements-llamaindex.txt
	$(PYTHON) -m venv --clear $(LLAMAINDEX)
	$(LLAMAINDEX)/bin/python -m pip --disable-pip-version-check --quiet install -r tests/frameworks/requirements-llamaindex.txt
	@touch $@

# Attacks a whole system that is started for it: `make attack` one of `up`, `make attack SYSTEM=compose` docker-compose.yml (needs
# Docker; BUILD_OPTIONS="--network host" and the like go to `docker build`). Prints what has held, and how long each took.
attack: $(VENV)/.dev
	$(BIN)/python -m tests.attack $(or $(SYSTEM),up)

# The Helm chart, with a Helm of its own: linted, rendered, held against the schemas of Kubernetes.
check-helm: $(HELM)/.ready
	$(HELM)/bin/python -m pytest -c tests/helm/pytest.ini --confcutdir tests/helm tests/helm

$(HELM)/.ready: tests/helm/requirements.txt
	$(PYTHON) -m venv --clear $(HELM)
	$(HELM)/bin/python -m pip --disable-pip-version-check --quiet install -r tests/helm/requirements.txt
	@touch $@

# What is installed, with hashes, as CycloneDX: out/sbom.json. And whether something is known against it, which asks PyPI: it fails,
# too, where that can't be asked.
sbom: $(AUDIT)/.ready
	mkdir -p out
	$(AUDIT)/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible -o out/sbom.json
	@echo out/sbom.json

audit: $(AUDIT)/.ready
	$(AUDIT)/bin/pip-audit --strict -r requirements.lock --require-hashes --disable-pip

$(AUDIT)/.ready: deploy/audit-requirements.txt
	$(PYTHON) -m venv --clear $(AUDIT)
	$(AUDIT)/bin/python -m pip --disable-pip-version-check --quiet install -r deploy/audit-requirements.txt
	@touch $@

# Builds the image, brings the Compose file up, kills a worker mid-job, and checks that nothing is lost. Needs Docker.
docker-check:
	tests/docker/check.sh

# Pins every package with its hashes; needs uv (`pip install uv`).
lock:
	printf 'uv\n' | uv pip compile - --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements-installer.lock
	printf 'hatchling\neditables\n' | uv pip compile pyproject.toml - --extra server --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements.lock
	printf 'hatchling\neditables\n' | uv pip compile pyproject.toml - --extra server --extra otel -c requirements.lock --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements-otel.lock
	printf 'hatchling\neditables\n' | uv pip compile pyproject.toml - --extra server --extra otel --extra dev -c requirements-otel.lock --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements-dev.lock

clean:
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .hypothesis
