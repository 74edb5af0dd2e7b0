# `make demo` and `make test` need Python 3.11 or newer, make and git; they install the rest into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ENVIRONMENT := $(VENV)/.environment
INSTALLED := $(VENV)/.installed
TEMPLATE_LINTERS := .venv-templates/.installed
CHECKOV := .venv-checkov/.installed
AUDIT := .venv-audit/.installed
PEERS := .venv-peers/.installed
SITE := .venv-site/.installed

# What is deployed: the configuration, functions and files of your own (CODE), and for which processor: arm64 or x86_64.
CONFIG ?= fastetl.toml
CODE ?=
ARCH ?= arm64
PLATFORM_arm64 := aarch64-manylinux_2_28
PLATFORM_x86_64 := x86_64-manylinux_2_28
MACHINE_arm64 := aarch64
MACHINE_x86_64 := x86_64
PLATFORM = $(or $(PLATFORM_$(ARCH)),$(error ARCH is arm64 or x86_64, not $(ARCH)))
HERE := $(patsubst aarch64,arm64,$(shell uname -m))

.DEFAULT_GOAL := help
.PHONY: help install demo unit coverage test lint lint-templates lint-secrets audit simulate mutate crash bench bench-report docs wheel package test-package deploy build-Ingest build-Backfill build-Coordinator build-Webhook lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv installs several times faster than pip; it comes with hashes itself.
$(ENVIRONMENT): requirements/dev.txt requirements/uv.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

# The native pass for this machine.
$(INSTALLED): $(ENVIRONMENT) native/build.py $(wildcard native/src/*.zig)
	$(BIN)/python native/build.py
	touch $@

install: $(INSTALLED) ## Create .venv from the locked requirements

demo: $(INSTALLED) ## Carry 20,000 changes of real flights through all of fastetl, on this machine
	$(BIN)/fastetl demo

# The pure core, and what else needs neither a server nor another process.
UNIT := tests/columns tests/config tests/decode tests/enrich tests/ingest/test_encode.py tests/load/test_batches.py \
	tests/load/test_decide.py tests/load/test_failures.py tests/load/test_rounds.py tests/load/test_survey.py \
	tests/load/test_together.py tests/backfill/test_export_format.py tests/operate/test_propose.py \
	tests/local/warehouse/test_copy_command.py tests/local/warehouse/test_copy_source.py \
	tests/local/warehouse/test_copy_values.py tests/local/warehouse/test_redshift_sql.py tests/tune/test_model.py \
	tests/test_model.py tests/test_project.py
PURE := columns config decode enrich model sql versions

unit: $(INSTALLED) ## Run the tests that need no server, in seconds, and report their coverage
	$(BIN)/pytest -q -m "not servers" $(PURE:%=--cov=fastetl.%) --cov-report=term $(UNIT)

coverage: $(INSTALLED) ## Run every test but the simulation, other processes included, and report the coverage
	$(BIN)/pytest -q -n 2 --dist loadfile --cov --cov-report=term --ignore tests/simulation

# Three at a time on two processors: tests that wait for processes leave theirs to others.
test: lint ## Lint, then run every test
	$(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED) lint-templates lint-secrets ## Check style, types, the floors, the template, and that no secret is in a file
	$(BIN)/ruff check src tests benchmarks packaging examples native docs
	$(BIN)/ruff format --check src tests benchmarks packaging examples native docs
	$(BIN)/python -m ziglang fmt --check native
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-templates: $(TEMPLATE_LINTERS) $(CHECKOV)
	$(BIN)/python packaging/streams.py template.yaml tests/three_streams.toml build/three-streams.yaml
	.venv-templates/bin/cfn-lint template.yaml build/three-streams.yaml
	AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 .venv-templates/bin/sam validate --lint --template template.yaml
	.venv-checkov/bin/checkov --config-file .checkov.yaml -f template.yaml

# Digests and placeholders look random, and settings are called secrets: those detectors would find nothing else here.
lint-secrets: $(CHECKOV)
	git ls-files -z | xargs -0 .venv-checkov/bin/detect-secrets-hook --no-verify --disable-plugin KeywordDetector \
		--disable-plugin Base64HighEntropyString --disable-plugin HexHighEntropyString

$(TEMPLATE_LINTERS): requirements/templates.txt | $(INSTALLED)
	test -x .venv-templates/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python .venv-templates
	$(BIN)/uv pip install --quiet --python .venv-templates/bin/python --require-hashes -r requirements/templates.txt
	touch $@

# Its pins clash with SAM's.
$(CHECKOV): requirements/checkov.txt | $(INSTALLED)
	test -x .venv-checkov/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python .venv-checkov
	$(BIN)/uv pip install --quiet --python .venv-checkov/bin/python --require-hashes -r requirements/checkov.txt
	touch $@

audit: $(AUDIT) ## Ask PyPI for known vulnerabilities of what is deployed
	for name in ingest coordinator; do .venv-audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/$$name.txt || exit 1; done

$(AUDIT): requirements/audit.txt | $(INSTALLED)
	test -x .venv-audit/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python .venv-audit
	$(BIN)/uv pip install --quiet --python .venv-audit/bin/python --require-hashes -r requirements/audit.txt
	touch $@

simulate: $(INSTALLED) ## Simulate SEEDS=1000000 on all cores and go on where it stopped; LARGE=1, DUCKDB=1; SEED=7 replays one
	$(BIN)/python -m tests.simulation $(if $(LARGE),--large) $(if $(DUCKDB),--duckdb) $(if $(PROCESSES),--processes $(PROCESSES)) $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),2000) --first $(or $(FIRST),0))

mutate: $(INSTALLED) ## Change the code in small wrong ways, and see tests fail: PACKAGES="load sql" SAMPLE=60 SEED=1
	$(BIN)/python -m tests.mutation --seed $(or $(SEED),1) --sample $(or $(SAMPLE),60) --jobs $(or $(JOBS),1) $(PACKAGES)

crash: $(INSTALLED) ## Kill real processes a hundred times while changes flow, and a backfill of all flights ten times
	CRASHES=$(or $(CRASHES),100) $(BIN)/pytest -q tests/local/test_crashes.py
	BACKFILL_FLIGHTS=336776 BACKFILL_KILLS=10 $(BIN)/pytest -q tests/local/test_backfill_crashes.py

bench: $(PEERS) ## Measure fastetl beside what users write, and beside the floor
	mkdir -p build
	.venv-peers/bin/pytest benchmarks -q -p no:cacheprovider --benchmark-timer=time.process_time \
		--benchmark-columns=median,iqr,rounds --benchmark-sort=name --benchmark-json=build/bench.json
	.venv-peers/bin/python -m benchmarks.report build/bench.json

bench-report: ## Write what `make bench` measured into benchmarks/README.md
	.venv-peers/bin/python -m benchmarks.report build/bench.json benchmarks/README.md

# The peers' pins clash with fastetl's own.
$(PEERS): requirements/peers.txt | $(INSTALLED)
	test -x .venv-peers/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python .venv-peers
	$(BIN)/uv pip install --quiet --python .venv-peers/bin/python --require-hashes -r requirements/peers.txt
	$(BIN)/uv pip install --quiet --python .venv-peers/bin/python --no-deps --no-build-isolation -e .
	touch $@

# `sam build` calls build-<function> with ARTIFACTS_DIR; `make package` does the same without SAM.
build-Ingest: $(INSTALLED)
	$(call build,requirements/ingest.txt)

# The same package: only the handler differs.
build-Backfill: build-Ingest

# The coordinator's package, for its log.
build-Webhook: build-Coordinator

build-Coordinator: $(INSTALLED)
	$(call build,requirements/coordinator.txt)

define build
	test -f $(CONFIG) || { echo "$(CONFIG): no configuration; write one, or name it with CONFIG=..."; exit 1; }
	$(BIN)/uv pip install --quiet --target $(ARTIFACTS_DIR) --python-version 3.13 --only-binary :all: \
		--python-platform $(PLATFORM) --no-deps --require-hashes -r $(1)
	rm -rf $(ARTIFACTS_DIR)/bin
	cp -r src/fastetl $(ARTIFACTS_DIR)/
	rm -rf $(addprefix $(ARTIFACTS_DIR)/fastetl/,cli local tune)
	rm -f $(ARTIFACTS_DIR)/fastetl/decode/native.*.so
	$(BIN)/python native/build.py $(MACHINE_$(ARCH)) build/native
	cp build/native/native.$(MACHINE_$(ARCH)).so $(ARTIFACTS_DIR)/fastetl/decode/
	cp $(CONFIG) $(ARTIFACTS_DIR)/fastetl.toml
	$(if $(CODE),cp -r $(CODE) $(ARTIFACTS_DIR)/)
	$(BIN)/python packaging/finish.py $(ARTIFACTS_DIR) $(ARCH)
endef

docs: $(SITE) ## Write the configuration's reference, and build the documents as a site into build/docs/site
	$(BIN)/python docs/write_reference.py
	rm -rf build/docs && mkdir -p build/docs/pages && cp docs/site.yml build/docs/mkdocs.yml
	git ls-files -z --cached --others --exclude-standard '*.md' docs examples benchmarks/charts template.yaml LICENSE \
		| xargs -0 cp --parents --target-directory build/docs/pages
	.venv-site/bin/zensical build --strict --config-file build/docs/mkdocs.yml

$(SITE): requirements/docs.txt | $(INSTALLED)
	test -x .venv-site/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python .venv-site
	$(BIN)/uv pip install --quiet --python .venv-site/bin/python --require-hashes -r requirements/docs.txt
	touch $@

wheel: $(INSTALLED) ## Build the Python package into dist/
	$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist

package: ## Build the functions' folders for both architectures into build/, and check them
	rm -rf build/arm64 build/x86_64
	for arch in arm64 x86_64; do \
		$(MAKE) build-Ingest ARCH=$$arch ARTIFACTS_DIR=build/$$arch/ingest && \
		$(MAKE) build-Coordinator ARCH=$$arch ARTIFACTS_DIR=build/$$arch/coordinator || exit 1; done

test-package: $(INSTALLED) ## Build both packages for this machine, and run them from their folders alone in the real runtime client
	rm -rf build/here build/runtime
	$(MAKE) build-Ingest ARCH=$(HERE) ARTIFACTS_DIR=build/here/ingest CONFIG=packaging/fastetl.toml
	$(MAKE) build-Coordinator ARCH=$(HERE) ARTIFACTS_DIR=build/here/coordinator CONFIG=packaging/fastetl.toml
	$(BIN)/uv pip install --quiet --target build/runtime --only-binary :all: --python-version 3.13 \
		--python-platform $(PLATFORM_$(HERE)) -c requirements/dev.txt awslambdaric
	cd packaging && FASTETL_INGEST=../build/here/ingest FASTETL_COORDINATOR=../build/here/coordinator \
		FASTETL_RUNTIME=../build/runtime ../$(BIN)/pytest -q -p no:cacheprovider --rootdir . test_package.py

# In the source folder: SAM would copy the whole checkout, environments included, once for each function.
SAM_BUILD := .venv-templates/bin/sam build --build-in-source --base-dir . --template build/template.yaml

deploy: $(TEMPLATE_LINTERS) ## Build for ARCH=arm64 or x86_64, and deploy with SAM; asks for the other parameters
	$(BIN)/python packaging/streams.py template.yaml $(CONFIG) build/template.yaml
	ARCH=$(ARCH) $(SAM_BUILD) --parameter-overrides Architecture=$(ARCH)
	.venv-templates/bin/sam deploy --guided --capabilities CAPABILITY_IAM --parameter-overrides Architecture=$(ARCH)

lock: $(INSTALLED) ## Resolve the requirements again
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" -o requirements/dev.txt pyproject.toml
	for name in ingest coordinator; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.13 --generate-hashes --no-emit-index-url \
			--custom-compile-command "make lock" -c requirements/dev.txt --no-emit-package click -o requirements/$$name.txt \
			$$([ $$name = ingest ] && echo pyproject.toml --extra tracing || echo requirements/$$name.in); done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" -o requirements/templates.txt requirements/templates.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" -o requirements/peers.txt requirements/peers.in pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" -o requirements/checkov.txt requirements/checkov.in
	for name in audit docs; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--custom-compile-command "make lock" -o requirements/$$name.txt requirements/$$name.in; done
	grep '^uv==' requirements/dev.txt | sed 's/ .*//' | $(BIN)/uv pip compile --quiet --universal --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" -o requirements/uv.txt -

clean: ## Remove what was installed and built
	rm -rf $(VENV) .venv-* build dist
