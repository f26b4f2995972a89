# `make help` lists the targets. The environment in .venv is made when it is first needed, and
# brought up to date when pyproject.toml changes. Another Python: make PYTHON=python3.13 ...
# (after `make clean`).
PYTHON ?= python3
PYTEST_ARGS ?=
# Tests run on all cores; PYTEST_WORKERS=0 runs them one after the other.
PYTEST_WORKERS ?= auto

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := $(wildcard flowconv tests benchmarks)
PARALLEL := -n $(PYTEST_WORKERS) --dist worksteal

# What installs packages; `PIP='uv pip'` takes a quarter of the processor time.
PIP ?= $(BIN)/python -m pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Each process that tests start would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' Makefile

.PHONY: install
install: $(STAMP) ## Make the environment in .venv

# $(1): folder of the environment; it is made again if its Python is gone.
define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		found=$$($(PYTHON) --version 2>/dev/null) || found=missing; \
		echo "flowconv needs Python 3.11 or newer, but $(PYTHON) is $$found." \
			"Choose another: make PYTHON=python3.12 ..." >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments: its modules venv and ensurepip are missing" \
			"(on Debian and Ubuntu: apt-get install python3-venv)." >&2; \
		exit 1; }
	@$(1)/bin/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(1)
endef

# The build hook compiles the native core.
KERNEL := $(wildcard flowconv/kernel/src/*.[ch] flowconv/kernel/src/*.inc)
FUZZ := $(wildcard tests/fuzz/*.[ch])

$(STAMP): pyproject.toml hatch_build.py $(KERNEL)
	$(call make_venv,$(VENV))
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(PIP) install --quiet --no-compile --editable '.[dev]'
	@touch $@

.PHONY: format
format: $(STAMP) ## Format the code and repair what ruff can; changes files
	$(BIN)/ruff check --fix-only --quiet $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/clang-format -i $(KERNEL) $(FUZZ)

.PHONY: lint
lint: $(STAMP) ## Check format and style; changes nothing
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/clang-format --dry-run --Werror $(KERNEL) $(FUZZ)

.PHONY: typecheck
typecheck: $(STAMP) ## Check the types
	$(BIN)/mypy $(SOURCES)

.PHONY: imports
imports: $(STAMP) ## Check that imports follow the data (pyproject.toml, importlinter)
	$(BIN)/lint-imports --no-cache --no-logo

.PHONY: check
check: lint typecheck imports ## lint, typecheck and imports

.PHONY: test
test: $(STAMP) ## Run the tests that need pip's packages alone; PYTEST_ARGS='-k name' chooses
	$(BIN)/python -m pytest $(PARALLEL) -m 'not s3server' $(PYTEST_ARGS)

# Bytes that others wrote are read in C: every access is checked here.
SANITIZED := build/libflowconv-sanitized.so

$(SANITIZED): $(KERNEL)
	@mkdir -p build
	$(CC) -std=c11 -g -O1 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden \
		-fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined \
		$(filter %.c,$(KERNEL)) -o $@

.PHONY: test-sanitized
test-sanitized: $(STAMP) $(SANITIZED) ## Run the native core's tests with address and UB sanitizers
	LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
		FLOWCONV_KERNEL_LIBRARY=$(CURDIR)/$(SANITIZED) \
		bash -c '$(BIN)/python -m pytest -n 0 tests/kernel $(PYTEST_ARGS) \
			&& $(BIN)/python tests/support/write_parquet.py 60'

# Compiles a fuzz target with what stands before it.
FUZZ_COMPILE = -std=c11 -g -O2 -Wall -Wextra -Werror -I flowconv/kernel/src \
	tests/fuzz/fuzz_$*.c tests/fuzz/lines.c $(filter %.c,$(KERNEL)) -o $@

build/fuzz/%: $(FUZZ) $(KERNEL)
	@command -v clang >/dev/null || { echo "Fuzzing needs clang and its libFuzzer" \
		"(on Debian and Ubuntu: apt-get install clang libclang-rt-dev)." >&2; exit 1; }
	@mkdir -p build/fuzz
	clang -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined $(FUZZ_COMPILE)

SECONDS := 60
TARGETS := rows json pages decoding metadata

.PHONY: fuzz
fuzz: $(STAMP) $(TARGETS:%=build/fuzz/%) ## Fuzz the native core; SECONDS=3600 does it for an hour
	@$(BIN)/python tests/fuzz/write_seeds.py build/fuzz/seeds
	@printf '%s\n' $(TARGETS) | xargs -P 5 -n 1 bash tests/fuzz/run.sh $(SECONDS)

RUNS := 200
OBJECTS := 10000

.PHONY: soak
soak: $(STAMP) ## Convert 10,000 hostile objects in 200 runs of one process; RUNS=60 OBJECTS=3000 are fewer
	FLOWCONV_SOAK=$(RUNS)x$(OBJECTS) $(BIN)/python -m pytest -n 0 -s tests/whole/test_soak.py

.PHONY: test-s3
test-s3: $(STAMP) ## Run the tests against Ceph; without it they are skipped, or fail if FLOWCONV_REQUIRE_S3=1
	$(BIN)/python -m pytest $(PARALLEL) -m s3server $(PYTEST_ARGS)

.PHONY: test-lowest
test-lowest: ## Run the tests with the lowest releases that pyproject.toml allows, in .venv-lowest
	$(call make_venv,$(VENV)-lowest)
	@$(VENV)-lowest/bin/python -c "$$LOWEST" > $(VENV)-lowest/constraints.txt
	@cat $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pip install --quiet --no-compile --editable '.[test]' \
		--constraint $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pytest $(PARALLEL) -m 'not s3server' $(PYTEST_ARGS)

.PHONY: test-spark
test-spark: ## Read lakes with Spark, in .venv-spark; needs Java 17
	$(call make_venv,$(VENV)-spark)
	$(VENV)-spark/bin/python -m pip install --quiet --no-compile --editable '.[test]' 'pyspark>=4.0'
	FLOWCONV_REQUIRE_SPARK=1 $(VENV)-spark/bin/python -m pytest -n 0 tests/whole/test_spark.py \
		$(PYTEST_ARGS)

# The dependencies' own bounds, `>=` made `==`. moto's boto3 goes with botocore: pip would try each
# newer release before it finds that one.
define LOWEST
import tomllib
with open('pyproject.toml', 'rb') as file:
    for requirement in tomllib.load(file)['project']['dependencies']:
        lowest = requirement.replace('>=', '==')
        print(lowest)
        if lowest.startswith('botocore=='):
            print(lowest.replace('botocore', 'boto3'))
endef
export LOWEST

# Zig compiles for every platform; hatch_build.py says which release.
ZIG := $(VENV)-wheels/.installed

$(ZIG): hatch_build.py
	$(call make_venv,$(VENV)-wheels)
	$(VENV)-wheels/bin/python -m pip install --quiet hatchling \
		$$(sed -n 's/^ZIG = "\(.*\)"/\1/p' hatch_build.py)
	@touch $@

.PHONY: wheels
wheels: $(STAMP) $(ZIG) ## Make the wheels of all platforms in dist/, and try this one's
	@rm -rf dist
	@for platform in $$(sed -n 's/^    "\(\S*\)": "\S*-\S*",$$/\1/p' hatch_build.py); do \
		FLOWCONV_PLATFORM=$$platform $(VENV)-wheels/bin/hatchling build -t wheel || exit 1; \
	done
	$(BIN)/python tests/support/check_wheels.py dist

# The library of this wheel is what is tried on ARM.
ARM := build/kernel/manylinux_2_17_aarch64.manylinux2014_aarch64

$(ARM)/libflowconv.so: $(KERNEL) $(ZIG)
	FLOWCONV_PLATFORM=$(notdir $(ARM)) $(VENV)-wheels/bin/hatchling build -t wheel

build/aarch64/%: $(FUZZ) $(ARM)/libflowconv.so
	@mkdir -p build/aarch64
	aarch64-linux-gnu-gcc -std=c11 -O2 -Wall -Wextra -Werror -I flowconv/kernel/src \
		tests/fuzz/main.c tests/fuzz/fuzz_$*.c tests/fuzz/lines.c $(ARM)/libflowconv.so -o $@

.PHONY: test-aarch64
test-aarch64: $(STAMP) $(TARGETS:%=build/aarch64/%) ## Try the wheel for ARM under Debian's qemu
	@$(BIN)/python tests/fuzz/write_seeds.py build/fuzz/seeds
	@for target in $(TARGETS); do \
		qemu-aarch64-static -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=$(ARM) \
			build/aarch64/$$target 5000 build/fuzz/seeds/$$target/* || exit 1; \
	done

.PHONY: test-no-compiler
test-no-compiler: $(STAMP) ## Build as on a machine without a compiler, and run the native core's tests
	@rm -rf build/no-compiler
	env -u CC PATH=$(CURDIR)/$(BIN) $(CURDIR)/$(BIN)/python -m pip wheel --quiet --no-deps \
		--wheel-dir build/no-compiler .
	$(BIN)/python -m zipfile --extract build/no-compiler/flowconv-*.whl build/no-compiler
	FLOWCONV_KERNEL_LIBRARY=$$(echo $(CURDIR)/build/no-compiler/flowconv/kernel/libflowconv.*) \
		$(BIN)/python -m pytest -n 0 tests/kernel -k test_case $(PYTEST_ARGS)

.PHONY: docs
docs: $(STAMP) ## Write the outputs and tables of the documentation anew
	PYTHONPATH=tests $(BIN)/python tests/whole/test_docs.py

.PHONY: bench
bench: $(STAMP) ## Run the benchmarks
	@for script in benchmarks/bench_*.py; do \
		echo "$$script"; $(BIN)/python "$$script" || exit 1; \
	done

.PHONY: bench-smoke
bench-smoke: $(STAMP) ## Run each benchmark once, on a small input
	@for script in benchmarks/bench_*.py; do \
		echo "$$script --smoke"; $(BIN)/python "$$script" --smoke || exit 1; \
	done

ROUNDS := 3

.PHONY: bench-targets
bench-targets: $(STAMP) ## Compare with the alternatives, and say which targets are met; ROUNDS=5 is steadier
	@mkdir -p .bench
	@for script in bench_convert.py bench_shapes.py 'bench_s3.py --case readers'; do \
		$(BIN)/python benchmarks/$$script --rounds $(ROUNDS) || exit 1; \
	done | tee .bench/targets.txt
	@echo; grep '^target: ' .bench/targets.txt

.PHONY: demo
demo: $(STAMP) ## Make sample logs, convert them and query the result, in demo/
	@rm -rf demo
	$(BIN)/flowconv generate demo/logs
	$(BIN)/flowconv inspect "$$(find demo/logs -name '*.log.gz' | sort | head -n 1 || true)"
	$(BIN)/flowconv convert demo/logs demo/lake
	@echo; echo "$$DEMO_QUERY"; echo
	@$(BIN)/python -c "$$DEMO_QUERY"

define DEMO_QUERY
import polars as pl

flows = pl.scan_parquet('demo/lake/vpc/')
print(
    flows.filter(pl.col('action') == 'ACCEPT')
    .group_by('date', 'dstport')
    .agg(pl.len().alias('flows'), pl.sum('bytes'))
    .sort('bytes', descending=True)
    .head(5)
    .collect()
)
endef
export DEMO_QUERY

.PHONY: clean
clean: ## Remove the environments, caches, builds and the demo
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-wheels demo build dist *.egg-info \
		.mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(SOURCES) -type d \( -name __pycache__ -o -name .mypy_cache -o -name .pytest_cache \
		-o -name .ruff_cache -o -name .hypothesis \) -prune -exec rm -rf {} +
