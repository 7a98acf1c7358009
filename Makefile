# `make example` runs the main job, `make test` the tests; both set everything up first.
PYTHON ?= python3
PIP_OPTIONS ?=
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BENCHMARKS ?= kernels stepper_profile heyoka_profile work_precision ftle mean_equations schemes scaling compile_time training_step \
	$(patsubst benchmarks/%.py,%,$(wildcard benchmarks/interpolation.py))

# Files of few and long tests, to begin with: at the end one process would wait for the other.
LONG := tests/test_documents.py tests/test_example.py

.PHONY: example test check bench docs clean

example: $(STAMP)
	$(BIN)/python examples/vortex_meanflow.py

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile \
		--no-loadscope-reorder $(LONG) meanfluid tests

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: $(STAMP)
	for script in $(BENCHMARKS); do $(BIN)/python benchmarks/$$script.py || exit 1; done
	$(BIN)/python benchmarks/report.py

docs: $(STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx -W -b html docs docs/_build/html

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(PIP_OPTIONS) -c constraints.txt -e '.[test]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) docs/_build results
