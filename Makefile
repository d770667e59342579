# make run: start the app.  make test: run every test.  Both set everything up on first use.
# PYTHON chooses the interpreter (3.10 to 3.12); PIP_ARGS is passed on to pip.
PYTHON ?= python3
PIP_ARGS ?=
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test test-fast style quality clean

run: $(VENV)/run.stamp
	$(BIN)/python app.py

test: $(VENV)/dev.stamp
	$(BIN)/python tests/chromium.py --install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not browser"
	$(BIN)/python -m pytest -m browser

test-fast: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m "not slow and not browser and not hub and not gpu"

style: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

quality: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 10) <= v[:2] <= (3, 12) or sys.exit(f"Python {v.major}.{v.minor} will not do; LM Lens needs 3.10 to 3.12. Name another one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install $(PIP_ARGS) -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install $(PIP_ARGS) -r requirements-dev.txt
	@touch $@ $(VENV)/run.stamp
