# make demo    install into .venv and run the quick start        make ui      serve its MLflow page on 127.0.0.1
# make test    install and run every test this machine can run   make check   formatters, linters, type checker
# make test-lowest  run the unit tests with the lowest versions that pyproject.toml promises (needs a download)
# make schema  write the config's schema and generated pages      make clean   remove .venv and caches, keep results
# make docs    build the documentation as a site, links checked
# make test-browser  look at the report and at MLflow's page with a real browser (root: installs Debian's Chromium)
# make test-slurm    run the workflow on a real one-node Slurm, brought up and taken down (root, Debian or Ubuntu)
# make reproduction        the paper's evaluation, about 40 core-hours; stop it at any time, the same command goes on
# make reproduction-docs   write docs/reproduction.md from the cells that are done
#
# Needs python3 (3.11 or newer) with venv, and make. PYTHON=... chooses another interpreter for .venv.

PYTHON ?= python3
BIN := .venv/bin
PORT ?= 5000
NAME ?= quickstart

.PHONY: demo test test-lowest test-browser test-slurm check docs ui schema reproduction reproduction-docs clean

# The stamps make a second `make` do nothing: one for what a user needs, one for what a developer needs besides.
.venv/user.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "dia needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { echo "could not make .venv: on Debian or Ubuntu, apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --editable '.[workflow]'
	@touch $@

.venv/dev.stamp: .venv/user.stamp
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

.venv/docs.stamp: .venv/user.stamp
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

demo: .venv/user.stamp
	$(BIN)/snakemake
	$(BIN)/snakemake --quiet all --report results/quickstart/report.html
	@cat results/quickstart/tables/dropout.md
	@echo
	@echo "Report:   results/quickstart/report.html"
	@echo "Tables:   results/quickstart/tables/"
	@echo "Figures:  results/quickstart/figures/"
	@echo "MLflow:   make ui"

# Fast tests come first: a broken unit shows before a workflow runs. One process per core, one thread per process.
test: .venv/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -n auto --dist loadscope --no-loadscope-reorder \
	  tests/unit tests/gpu tests/reference tests/workflow

# First the library alone, then with the workflow, whose plugin for Slurm needs newer versions of some packages.
LOWEST := VIRTUAL_ENV=.venv-lowest $(BIN)/uv pip install --quiet --resolution lowest-direct --editable
PYTEST_LOWEST := OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -rs -n auto --dist loadscope
test-lowest: .venv/dev.stamp
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-lowest
	$(LOWEST) '.[test]'
	$(PYTEST_LOWEST) tests/unit/inversion tests/unit/attacks tests/unit/models tests/unit/ops tests/unit/federated
	$(LOWEST) '.[workflow,test]'
	$(PYTEST_LOWEST) tests/unit

# Root installs missing Debian packages; others are told what is missing.
test-slurm: .venv/dev.stamp
	@if [ -n "$$($(BIN)/python tests/slurm/cluster.py lacking)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    slurmctld slurmd slurm-client munge; \
	fi
	@lacking="$$($(BIN)/python tests/slurm/cluster.py lacking)"; \
	if [ -n "$$lacking" ]; then echo "make test-slurm cannot run here: $$lacking" >&2; exit 1; fi
	$(BIN)/python -m pytest -rs tests/slurm

test-browser: .venv/dev.stamp
	@if ! { command -v chromium && command -v chromedriver; } >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    chromium chromium-driver; \
	fi
	$(BIN)/python -m pytest -rs tests/browser

check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

# Strict: a broken link or heading is an error.
docs: .venv/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/site/mkdocs.yml
	@echo "Site: build/site/index.html"

ui: .venv/user.stamp
	@test -e results/$(NAME)/mlflow.db || \
	  { echo "results/$(NAME)/mlflow.db is not there; this writes it: $(BIN)/snakemake --forcerun track" \
	    "(--configfile FILE, where it is not that of the quick start; NAME=... serves that of another config)" >&2; exit 1; }
	@$(BIN)/python -c 'import json; import os; file = "results/$(NAME)/tracking.json"; page = json.load(open(file))["page"] if os.path.exists(file) else "/"; \
	  print(f"Open http://127.0.0.1:$(PORT){page} once the server is up")'
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --backend-store-uri sqlite:///results/$(NAME)/mlflow.db \
	  --host 127.0.0.1 --port $(PORT) --workers 1

schema: .venv/user.stamp
	$(BIN)/dia schema > workflow/schemas/config.schema.yaml
	$(BIN)/python docs/site/generate.py

reproduction: .venv/user.stamp
	$(BIN)/snakemake --configfile config/reproduction.yaml

# Without cells of one's own it is written from the numbers that come with the repository.
REPRODUCTION := config/reproduction.yaml
REPRODUCED := docs/reproduction
reproduction-docs: .venv/user.stamp
	@if [ -d results/reproduction/cells ]; then set -ex; \
	  $(BIN)/dia cells --config $(REPRODUCTION) --out results/reproduction/all.jsonl; \
	  $(BIN)/dia cells --config $(REPRODUCTION) --finished --out results/reproduction/finished.jsonl; \
	  $(BIN)/dia collect --compact --job-list results/reproduction/finished.jsonl --out $(REPRODUCED)/results.parquet; \
	  for model in $$(ls results/reproduction/cells/default/cifar10); do \
	    $(BIN)/dia figures reconstructions --job-list results/reproduction/all.jsonl --dataset cifar10 --model $$model \
	      --rows 3 --out $(REPRODUCED)/$$model.png; \
	  done; \
	fi
	$(BIN)/dia figures overview --config $(REPRODUCTION) --results $(REPRODUCED)/results.parquet --out $(REPRODUCED)/overview.png
	$(BIN)/dia document docs/reproduction.md --config $(REPRODUCTION) --results $(REPRODUCED)/results.parquet

clean:
	rm -rf .venv .venv-lowest .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
