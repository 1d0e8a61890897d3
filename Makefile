# `make demo` and `make test` are all a newcomer needs; each does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_HOME ?= demo-home
export HF_HUB_OFFLINE := 1

.PHONY: help demo demo-chat pretrained test test-fast test-all check docs format clean

help:            ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/ \t/' | expand -t 18

QUICK := -m "not slow and not thorough and not gpu and not browser and not ray and not pretrained and not kafka and not neo4j and not postgres"
# Tests also wait, for processes and servers: three of them at once keep two cores busy.
WORKERS ?= 3
# `make test PYTEST=…` adds options, such as `-k name` or `-p randomly` (any order).
PYTEST ?=

demo: | introduction $(STAMP)  ## the whole story on a bundled model and a local SPARQL server (70 s)
	$(BIN)/kbsync --home $(DEMO_HOME) demo

.PHONY: introduction
introduction:    # something to read while torch installs
	@test -e $(STAMP) || cat kbsync/demo/introduction.txt

demo-chat: pretrained  ## a short story on a real pretrained chat model, asked as people ask (two minutes)
	$(BIN)/kbsync --home $(DEMO_HOME)-chat demo --pretrained

pretrained: $(STAMP)  ## set up a small pretrained chat model (93 MB to download, once); the last line is its directory
	@$(BIN)/python -m kbsync.demo.pretrained

test: $(STAMP)   ## the quick tests (about ten minutes on two cores)
	$(BIN)/python -m pytest $(QUICK) -n $(WORKERS) --dist loadfile $(PYTEST)

test-fast: $(STAMP)  ## the tests without torch, servers and processes (under a minute)
	$(BIN)/python -m pytest -p tests.support.fast -q -n $(WORKERS) --dist loadfile $(PYTEST)

test-all: $(STAMP)  ## every test that this machine can run
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST)

check: $(STAMP)  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_source_rules.py

docs: $(STAMP)   ## the documentation as a site, in build/site; every link is checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(STAMP) ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# A half-finished install leaves no stamp, so the next `make` finishes it.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "kbsync needs Python 3.11 or newer; set PYTHON=…"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch first and alone: a later resolver pass then finds the range satisfied.
	@echo "[1/2] torch, which is large: about a minute on a fast line, several on a slow one" >&2
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@echo "[2/2] kbsync, its dependencies and its tools: about a minute" >&2
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,parquet,plot,postgres]'
	touch $@

clean:           ## remove the venv, caches and the demo's home
	rm -rf $(VENV) $(DEMO_HOME) $(DEMO_HOME)-chat build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
