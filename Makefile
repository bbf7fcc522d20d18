# Hearth: `make demo` shows the whole thing, `make test` proves it. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
UV := $(shell command -v uv 2>/dev/null || echo .cache/uv/bin/uv)
RUN := $(UV) run --frozen
CLUSTER ?= hearth
PROFILE ?= demo

# Programs compiled once, also on machines that write no bytecode: without it every start compiles every library again.
export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/bytecode
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup lint format crds test-unit test-controlplane test-fast test-training test-engines test-storage test-e2e test-e2e-serving test-e2e-training test-e2e-cluster test preflight bench bench-operator bench-gateway bench-gateway-vllm bench-trainer demo demo-down cluster-up cluster-down cluster-status cluster-images cluster-gpus cluster-env

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.cache/uv/bin/uv:
	@python3 -m venv .cache/uv || { rm -rf .cache/uv; echo "install uv (https://docs.astral.sh/uv) or python3-venv (Debian: apt-get install python3-venv), then run make again"; exit 1; }
	@.cache/uv/bin/pip install --quiet uv==$(UV_VERSION)

setup: $(if $(shell command -v uv 2>/dev/null),,.cache/uv/bin/uv) ## install the locked Python dependencies into .venv
	@$(UV) sync --frozen --quiet

lint: setup ## ruff, mypy --strict, import rules, generated files up to date
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) python -m hearth.cli.crds generate --check

crds: setup ## write crds/, the chart's copies and docs/api from the models
	$(RUN) python -m hearth.cli.crds generate

format: setup ## rewrite the sources in the project's style
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

test-unit: setup ## unit and property tests (seconds)
	$(RUN) pytest tests/unit tests/property

test-controlplane: setup ## tests against a real kube-apiserver and scheduler (six to nine minutes; the first time builds them)
	$(RUN) pytest tests/controlplane

test-fast: lint test-unit test-controlplane ## lint, unit, property and control-plane tests

# The trainer's locked libraries on torch without NVIDIA's, as in the local images (binutils write the stubs).
TRAINING := .cache/training
EXPORT := $(UV) export --quiet --frozen --no-header --no-emit-workspace

$(TRAINING)/ready: uv.lock images/trainer/pyproject.toml images/local/torch/requirements.txt images/local/torch/cpu_only.py | setup
	@command -v readelf as ld > /dev/null || { echo "readelf, as and ld are missing: apt-get install binutils"; exit 1; }
	$(UV) venv --quiet --clear --python 3.11 $(TRAINING)
	$(EXPORT) --no-dev --package hearth-trainer --extra train --prune torch -o $(TRAINING)/trainer.txt
	$(EXPORT) --only-group dev -o $(TRAINING)/dev.txt
	export VIRTUAL_ENV=$(TRAINING) && for list in images/local/torch/requirements.txt $(TRAINING)/trainer.txt $(TRAINING)/dev.txt; do \
	  $(UV) pip install --quiet --no-deps --require-hashes -r $$list || exit 1; done
	$(TRAINING)/bin/python images/local/torch/cpu_only.py $(TRAINING)/lib/python3.11/site-packages
	touch $@

test-training: $(TRAINING)/ready ## the trainer's own libraries and a tiny model (half a minute; the first time installs torch)
	PYTHONPATH=images/trainer/src:tests/training HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(TRAINING)/bin/python -m pytest tests/training

test-engines: setup ## the indexer with real Milvus engines, without a cluster (four minutes)
	$(RUN) --group engines pytest tests/engines

PREFLIGHT := preflight-native

test-e2e: setup $(PREFLIGHT) ## tests on a real node (root on Linux; the first time builds images)
	$(RUN) pytest tests/e2e

# The same in three parts.
SERVING := tests/e2e/test_images.py tests/e2e/test_index.py tests/e2e/test_rollout.py
TRAINING_JOBS := tests/e2e/test_finetune.py

test-e2e-serving: setup $(PREFLIGHT)
	$(RUN) pytest $(SERVING)

test-e2e-training: setup $(PREFLIGHT)
	$(RUN) pytest $(TRAINING_JOBS)

test-e2e-cluster: setup $(PREFLIGHT)
	$(RUN) pytest tests/e2e $(patsubst %,--ignore=%,$(SERVING) $(TRAINING_JOBS))

preflight: setup ## say what this machine lacks for a node; root on Debian installs it
	@$(RUN) hearth-cluster preflight $(if $(filter 0,$(shell id -u)),--fix)

test-storage: setup $(PREFLIGHT) ## the storage driver's tests and the CSI sanity suite (root on Linux)
	$(RUN) pytest tests/storage

preflight-native: setup
	@$(RUN) hearth-cluster preflight --provider native $(if $(filter 0,$(shell id -u)),--fix)

# Three at a time: first those that wait as often as they compute, at last what only computes.
PARTS := test-e2e-serving test-controlplane test-e2e-training test-e2e-cluster test-engines test-training test-unit lint test-storage

test: setup preflight-native ## every test, a real node with real engines included
	@$(RUN) python tests/support/run_parts.py $(PARTS)

BENCH := PYTHONPATH=tests/support $(RUN)

bench: bench-operator bench-gateway bench-gateway-vllm bench-trainer ## measure operator, gateway and trainer (an idle machine, three quarters of an hour)

bench-operator: setup ## writes, reads, CPU and memory of COUNT=1000 services with pods by kwok (TASK=Generate|Embed)
	$(BENCH) python tests/bench/bench_operator.py --count $(or $(COUNT),1000) --task $(or $(TASK),Generate)

bench-gateway: setup ## what the gateway adds to an engine that answers at once (REQUESTS=500)
	$(BENCH) python tests/bench/bench_gateway.py $(if $(REQUESTS),--count $(REQUESTS))

bench-gateway-vllm: setup $(if $(SERVICE),,preflight-native) ## the same for vLLM on a node of its own, or CLUSTER=name SERVICE=namespace/name (REQUESTS=200)
	$(BENCH) python tests/bench/bench_gateway.py $(if $(SERVICE),--cluster $(CLUSTER) --service $(SERVICE),--vllm) $(if $(REQUESTS),--count $(REQUESTS))

bench-trainer: setup ## tokens a second beside the same TRL script by hand (MODEL=folder of a model)
	$(BENCH) --package hearth-trainer --extra train --with rich --isolated python tests/bench/bench_trainer.py $(if $(MODEL),--model $(MODEL))

cluster-up: preflight ## bring a local cluster up (CLUSTER=name)
	@$(RUN) hearth-cluster up --name $(CLUSTER)

cluster-down: setup ## remove it with everything it started
	@$(RUN) hearth-cluster down --name $(CLUSTER)

cluster-status: setup ## clusters of this machine and their components
	@$(RUN) hearth-cluster status

cluster-images: setup ## build and push the images a profile needs (PROFILE=demo|test|all)
	@$(RUN) hearth-cluster images --name $(CLUSTER) --profile $(PROFILE)

cluster-gpus: setup ## let the node offer N GPUs it does not have (N=2; N=0 takes them away)
	@$(RUN) hearth-cluster gpus $(or $(N),2) --name $(CLUSTER)

cluster-env: setup ## eval "$$(make -s cluster-env)" points kubectl at it
	@$(RUN) hearth-cluster env --name $(CLUSTER)

demo: preflight ## bring a private LLM to life on a local cluster, step by step
	@$(RUN) python -m hearth_demo --name $(CLUSTER)

demo-down: setup ## remove the demo's cluster and everything in it
	@$(RUN) hearth-cluster down --name $(CLUSTER)
