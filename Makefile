# Everything on a fresh machine with Python and make. `make demo` and `make test` set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
TORCH_VERSION := 2.13.0
TF_KERAS_VERSION := 2.21.0
UV_VERSION := $(shell sed -n 's/^uv==//p' constraints.txt)

export TF_CPP_MIN_LOG_LEVEL ?= 3

# A file's tests stay together, for what they share; the files are taken in order, the long ones come first (see
# tests/conftest.py). Each process takes a GB or more. JOBS=0 runs all in one process, as a debugger wants it.
JOBS ?= auto
PYTEST := $(BIN)/python -m pytest --numprocesses $(JOBS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: setup demo test test-slow test-corpora test-release matrix lint format bench zoo soundness fuzz kills docs clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else "make: Python 3.10 to 3.13 is needed, $(PYTHON) is %d.%d; say make PYTHON=python3.11" % v)'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	@# Compiled now: where PYTHONDONTWRITEBYTECODE is set, as in many containers, every import of TensorFlow would do it again.
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[tensorflow-cpu,slim,dev]'
	@# PyTorch for its tests. By pip, which takes the build for CPUs of the index; uv would take one for CUDA, of several GB.
	@# Where there is no wheel for this Python, the tests that need it are skipped.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==$(TORCH_VERSION) || echo "make: no PyTorch $(TORCH_VERSION) for this Python; its tests are skipped"
	@# Keras 2 for its tests. Alone: it asks for the package tensorflow, whose files are those of tensorflow-cpu.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps tf_keras==$(TF_KERAS_VERSION)
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/lockstep demo

# What tells most in a quarter of an hour on two cores.
test: $(STAMP)
	$(PYTEST) -m 'not slow and not corpus and not release'

# Environments of their own, TensorFlow 1.15, the guide's network.
test-slow: $(STAMP)
	$(PYTEST) -m 'slow and not corpus and not release'

# Corpora of right pairs and packages that others wrote, with what tells that they are right.
test-corpora: $(STAMP)
	$(PYTEST) -m 'corpus and not release'

# What takes long and changes rarely: before a release, and after a change of what it is about.
test-release: $(STAMP)
	$(PYTEST) -m 'release'

# make matrix ONLY=oldest runs one row of tools/matrix.py; FAST=1 leaves out the slow tests.
matrix: $(STAMP)
	$(BIN)/python tools/matrix.py $(addprefix --only ,$(ONLY)) $(if $(FAST),--fast)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# make zoo ARGS='--no-slow --family perceptron'; docs/design/bug_zoo.md has the rest.
zoo: $(STAMP)
	$(BIN)/python -m benchmarks.zoo $(ARGS)

# make soundness ARGS='--short'; docs/design/soundness.md has the rest. It takes hours without --short.
soundness: $(STAMP)
	$(BIN)/python -m benchmarks.soundness $(ARGS)

# make kills ARGS='--count 20 --only environment'; docs/design/environments.md has the rest. It takes an hour.
kills: $(STAMP)
	$(BIN)/python tools/kills.py $(ARGS)

# make fuzz ARGS='--target inputs --seed 3 --trial 17'; tools/fuzz/__main__.py has the rest.
fuzz: $(STAMP)
	$(BIN)/python -m tools.fuzz $(ARGS)

# The site of docs/, in build/site: index.html opens without a server. A broken link is an error.
docs: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean:
	rm -rf $(VENV) .matrix build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
