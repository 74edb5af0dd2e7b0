# `make demo` and `make test` need Python 3.11 or newer, make and git; they install the rest into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install test lint lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): requirements/dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

install: $(INSTALLED) ## Create .venv from the locked requirements

test: lint ## Lint, then run every test
	$(BIN)/pytest -q -n 2 --dist loadfile

lint: $(INSTALLED) ## Check style
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests

lock: $(INSTALLED) ## Resolve the requirements anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" -o requirements/dev.txt pyproject.toml

clean: ## Remove what was installed and built
	rm -rf $(VENV) .venv-* build dist
