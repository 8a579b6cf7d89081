# Each target works alone on a fresh clone: it makes .venv and installs what it needs.
PYTHON ?= python3
BIN := .venv/bin
# Threads that spin while they wait are several times slower wherever cores are shared.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test check clean

demo: .venv/demo  ## real model, date study, prints the report's path
	$(BIN)/python -m interp.model fetch smollm2-135m
	$(BIN)/python -m studies.date_manifold --n 500

test: .venv/dev  ## the whole test suite, real-model tests included
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/dev  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

.venv/demo: pyproject.toml
	@echo "Installing into .venv (minutes, the first time)"
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/dev: pyproject.toml
	@echo "Installing into .venv (minutes, the first time)"
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv
