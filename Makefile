# `make fit` trains on the embedded photographs, `make test` runs the suite; both build .venv first.
PYTHON ?= python3
PIP_ARGS ?=
CONFIG ?= configs/sample.yaml
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: env fit test test-slow lint format docs clean

env: $(STAMP)

# One pip command: a second one may replace the torch build that the first chose.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt $(PIP_ARGS) -e '.[dev,data,dask,docs]'
	touch $@

fit: env
	$(BIN)/python tools/fit.py --config $(CONFIG) $(ARGS)

# One thread a worker, or the OpenMP pools of the workers fight for the cores.
test: env
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow' $(ARGS)

test-slow: env
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: env
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

format: env
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

# The reference of the public modules: build/reference/index.html.
docs: env
	$(BIN)/python tools/make_reference.py

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
