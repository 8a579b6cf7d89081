# Each target works alone on a fresh clone: it makes .venv and installs what it needs, in the
# versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
# Threads that spin while they wait are several times slower wherever cores are shared.
export OMP_WAIT_POLICY ?= PASSIVE
# the tools that build this package come from the lock too, so pip must not fetch its own
INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test check nightly drift lock clean

demo: .venv/demo  ## real model, date study, prints the report's path
	$(BIN)/python -m interp.model fetch smollm2-135m-instruct-q4
	$(BIN)/python -m studies.date_manifold --n 500

test: .venv/dev  ## the test suite, real-model tests included
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations=25

check: .venv/dev  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

nightly: .venv/dev  ## what `test` leaves out: long simulations, the newest releases, the wheel alone
	.ci/nightly

drift:  ## the newest releases of everything but torch, held to what we rely on
	.ci/drift

lock:  ## renew constraints.txt
	.ci/lock

.venv/demo: pyproject.toml constraints.txt
	@echo "Installing into .venv (minutes, the first time)"
	test -d .venv || $(PYTHON) -m venv .venv
	$(INSTALL) setuptools
	$(INSTALL) --no-build-isolation --editable .
	touch $@

.venv/dev: pyproject.toml constraints.txt
	@echo "Installing into .venv (minutes, the first time)"
	test -d .venv || $(PYTHON) -m venv .venv
	$(INSTALL) setuptools
	$(INSTALL) --no-build-isolation --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv
