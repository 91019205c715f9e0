# Two commands do everything: `make run` (the quickstart) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
CONFIG ?= config/config.yaml
CORES ?= $(shell nproc 2>/dev/null || echo 2)
TORCH := torch==2.13.0
TORCH_INDEX := https://download.pytorch.org/whl/cpu
CONSTRAINTS := envs/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help env env-test run test test-slow lint bench schema clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "redoxmd needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
