# make run    set up, then measure the embedded default on this machine's CPU
# make test   set up, then lint, types and the whole test suite
# make bench  what is claimed about speed and about the statistics, measured again
# make docs   the documentation as a site, in docs/_build

PYTHON ?= python3
ARGS ?= model=minilm ep=cpu
BIN := .venv/bin

.PHONY: setup run test bench docs clean

setup: .venv/installed

# torch first: a resolver that meets it later may pick another build.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed, this is %d.%d; give make PYTHON=..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

run: setup
	$(BIN)/python -m harness $(ARGS)

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

bench: setup
	$(BIN)/python -m pytest -o addopts="-q" -s tests/benchmarks

docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo docs/_build/index.html

clean:
	rm -rf .venv build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
