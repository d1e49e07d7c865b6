# OncoFed. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := simulation,lite0,medmnist,dicom,jpeg12,hdf5,dp-check,tool,sweep,dev
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
CHOSEN := $(if $(filter command% environment%,$(origin PYTHON)),chosen)
# A virtual environment of another Python is complete no more.
ifeq ($(shell .ci/install --stale $(VENV) $(if $(CHOSEN),$(PYTHON)) && echo stale),stale)
$(shell rm -f $(VENV)/.installed-*)
endif
OVERRIDES ?=
CHECKPOINT := checkpoints/phantom
KIT_OPTIONS ?=
# One thread a process: torch otherwise starts one a core in each of them.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install run test lint types contracts packages unit deployment-tests deployment-benchmark browser-tests benchmark kit clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

install: $(STAMP) ## create .venv and install OncoFed with everything its checks need

# Keyed on what the two files say, not on their times: a fresh checkout of the same text needs no network.
$(STAMP):
	@.ci/install $(VENV) $(PYTHON) '$(EXTRAS)' $(CHOSEN)
	@rm -f $(VENV)/.installed-*
	@touch $@

ifeq ($(OVERRIDES),)
run: $(CHECKPOINT)/card.json
endif
run: install ## a consortium of emulated hospitals, and who gains; OVERRIDES='data=bus_bra data.root=...' runs another study
	$(BIN)/oncofed-sim run --engine flower $(or $(OVERRIDES),experiment=consortium model.weights=$(CHECKPOINT))

# What hospitals start from: a network that has seen 120 other synthetic patients.
$(CHECKPOINT)/card.json: | install
	@rm -rf $(CHECKPOINT)
	$(BIN)/oncofed-sim pretrain data.patients=120 --out $(CHECKPOINT)

test: lint types contracts unit ## everything CI checks

lint: install ## style and formatting (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## static types (mypy --strict)
	$(BIN)/mypy

contracts: install ## who may import whom (import-linter), and how the house is kept: circles, sizes, docstrings
	$(BIN)/lint-imports
	$(BIN)/python .ci/house

packages: ## the Debian packages that the tests need, as root
	@.ci/packages

unit: install packages ## pytest; ARGS='-k grid' narrows it
	$(BIN)/python -m pytest -n 2 $(ARGS)

SCENARIOS := kills stops faults network hosts clock machine bad_updates hostile_hub intruders pause_and_pages sums checkpoints
deployment-tests: install packages ## break on purpose what a hub and three hospitals run; about an hour, as root, with nginx
	@for name in $(SCENARIOS); do $(BIN)/python -m pytest tests/scenarios/deployment/$$name.py --durations=0 $(ARGS) || exit 1; done

deployment-benchmark: install ## seconds and bytes a round beyond the training, and idle sites; ARGS='--images DIR data=...'
	$(BIN)/python -m simulations.bench.deployment_benchmark $(ARGS)

browser-tests: install ## every page in headless Chromium: an axe scan, and 320 px; needs Debian's chromium
	$(BIN)/python -m pytest tests/e2e/accessibility.py $(ARGS)

benchmark: install ## start-up, private against plain, overhead and scale, as Markdown; ARGS='--device cuda' for a GPU
	$(BIN)/python -m simulations.bench.benchmark $(ARGS)

kit: install ## an offline installer in dist/; KIT_OPTIONS="--role hub --pip-options='--extra-index-url URL'" for torch for CPUs
	$(BIN)/python deploy/kit/build.py $(KIT_OPTIONS)

clean: ## remove .venv, caches and build output (runs/ stays)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .pacs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
