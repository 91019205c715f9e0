# Main targets: `make demo` (minutes, without DFT), `make run` (the quickstart) and `make test`. `make help` lists all.
# Settings: CONFIG=config/other.yaml CORES=8 PYTHON=python3.12 TORCH=torch (another version or build)
PYTHON ?= python3
CONFIG ?= config/config.yaml
CORES ?= $(shell env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || echo 2)
TORCH ?= $(shell sed -n "s/^\# \(torch==\)/\1/p" envs/constraints.txt)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SNAKEMAKE := $(BIN)/snakemake --configfile $(CONFIG)
export GPAW_CONFIG := $(CURDIR)/envs/gpaw_siteconfig.py
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help env env-test demo run test test-slurm test-slow test-versions lint bench bench-peers bench-scaling docs schema clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-13s %s\n", $$1, $$2}'

env: $(VENV)/.run ## install .venv for runs

env-test: $(VENV)/.test ## install .venv for runs and tests

$(VENV)/.run: pyproject.toml envs/constraints.txt envs/gpaw_siteconfig.py
	@command -v gcc >/dev/null || { echo "redoxmd needs gcc to build GPAW: install your system's gcc package"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("redoxmd needs Python 3.11 or newer; set PYTHON=" if sys.version_info < (3, 11) else 0)'
	@echo "[1/4] creating $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "[2/4] installing torch"
	@$(PIP) $(TORCH)
	@echo "[3/4] installing the build requirements of GPAW"
	@$(PIP) -c envs/constraints.txt setuptools wheel numpy
	@echo "[4/4] installing redoxmd and building GPAW"
	@$(PIP) -c envs/constraints.txt -e '.[gpaw]'
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "[+] installing the requirements of the tests"
	@$(PIP) -c envs/constraints.txt -e '.[gpaw,test,lint,docs]'
	@touch $@

demo: ## production, electrons and figures with shipped potentials, in minutes, without DFT
	@$(MAKE) --no-print-directory run CONFIG=config/demo.yaml

run: $(VENV)/.run ## run CONFIG (the quickstart) and write its report
	@$(BIN)/redoxmd check $(CONFIG)
	@$(SNAKEMAKE) --cores $(CORES) --quiet rules host --rerun-incomplete
	@results=$$($(BIN)/redoxmd path $(CONFIG)); $(SNAKEMAKE) --report $$results/report.html > $$results/logs/report.log 2>&1 \
		|| { cat $$results/logs/report.log; exit 1; }
	@$(BIN)/redoxmd status $(CONFIG)
	@results=$$($(BIN)/redoxmd path $(CONFIG)); echo "first page: $$results/summary.html"; echo "report: $$results/report.html"

# Each of many processes would compile all modules again if the caller forbids bytecode.
test: $(VENV)/.test ## lint and run the tests, except slow, Slurm and GPU tests
	@$(MAKE) --no-print-directory lint
	@OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n $$(($(CORES) + 1)) --dist loadscope --no-loadscope-reorder \
		-m "not slow and not slurm and not gpu" tests

test-slurm: $(VENV)/.test ## run a toy campaign on a real Slurm on this machine (slurm-wlm and munge must be installed)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "slurm and not slow" tests

test-slow: $(VENV)/.test ## run the slow tests, including real DFT
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow tests

# Campaigns are left out: they take long and use the same code. Of torch, take the version that is installed anyway.
test-versions: $(VENV)/.run ## run the tests at the lowest and at the newest versions of the dependencies
	@$(PIP) uv
	@for versions in lowest-direct highest; do \
		$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-$$versions && \
		VIRTUAL_ENV=.venv-$$versions $(BIN)/uv pip install --quiet --resolution $$versions -e '.[gpaw,test]' $(TORCH) && \
		OMP_NUM_THREADS=1 .venv-$$versions/bin/python -m pytest -q -n $(CORES) -m "not slow and not gpu and not workflow" tests \
			|| exit 1; done

lint: $(VENV)/.test ## check style, types and the format of rules
	@$(BIN)/ruff check src tests workflow benchmarks
	@$(BIN)/ruff format --check src tests workflow benchmarks
	@$(BIN)/mypy
	@$(BIN)/snakefmt --check Snakefile rules

docs: $(VENV)/.test ## write the documentation as a site to site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.run ## time MD, training, densities and analysis on this machine
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

bench-peers: $(VENV)/.run ## the same, compared with schnetpack in its own environment
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@grep -E '^(schnetpack|numpy)==' envs/constraints.txt > .venv-peers/requirements.txt # schnetpack brings the torch it asks for
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r .venv-peers/requirements.txt
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

bench-scaling: $(VENV)/.run ## draw time per atom and per structure into docs/performance
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks --scaling docs/performance

schema: $(VENV)/.run ## write the config schema and the documented defaults
	@$(BIN)/redoxmd schema

clean: ## remove the environment; results are kept
	rm -rf $(VENV)
