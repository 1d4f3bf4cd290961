# Two commands: `make reproduce` (PRESET=quick by default) and `make test`.
PRESET ?= quick
PYTHON ?= python3
BIN := .venv/bin
# Tests on every core; those of one file on the same, for they share what is costly to make.
BESIDE := --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

# Where it is set, as in many containers, each of the study's processes would compile all it imports again: 15 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: reproduce test lint clean

reproduce: .venv/.ready
	$(BIN)/python -m advlook reproduce --preset $(PRESET)

test: lint
	$(BIN)/python -m advlook reproduce --preset smoke --force
	ADVLOOK_PEERS=1 ADVLOOK_LIVE=0 ADVLOOK_PRESET=smoke $(BIN)/python -m pytest $(BESIDE) \
		--nbval-lax --nbval-cell-timeout=600 tests notebooks

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

# The marker appears last, so an interrupted installation is done again. torchattacks, the peer of tests/attacks/test_peers.py,
# asks for a requests too old for jupyterlab but never imports it: it comes without its requirements, which dev holds.
# Modules are compiled when they are first imported: of all that are installed, few ever are.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "advlook needs Python 3.11 to 3.13; name one with PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps torchattacks
	@touch $@

clean:
	rm -rf .venv data/cache figures/smoke
