# `make demo` and `make test` need Python 3.11 or newer, make and git; they install the rest into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test lint lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv installs several times faster than pip; it comes with hashes itself.
$(INSTALLED): requirements/dev.txt requirements/uv.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

install: $(INSTALLED) ## Create .venv from the locked requirements

demo: $(INSTALLED) ## Carry 20,000 changes of real flights through all of fastetl, on this machine
	$(BIN)/fastetl demo

test: lint ## Lint, then run every test
	$(BIN)/pytest -q -n 2 --dist loadfile

lint: $(INSTALLED) ## Check style, types and the floors
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: $(INSTALLED) ## Resolve the requirements anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" -o requirements/dev.txt pyproject.toml
	grep '^uv==' requirements/dev.txt | sed 's/ .*//' | $(BIN)/uv pip compile --quiet --universal --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" -o requirements/uv.txt -

clean: ## Remove what was installed and built
	rm -rf $(VENV) .venv-* build dist
