# `make demo` and `make test` are all that a fresh machine needs; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SPARK := .venvs/spark
AIRFLOW := .venvs/airflow
SCHEMAS := .venvs/schemas
LOCK := requirements/requirements.lock
DEMO ?= demo
DATE ?= 2026-11-15
NAME ?= demo
# Silences the message about the missing GPU and keeps logs to warnings in tests and tools.
export TF_CPP_MIN_LOG_LEVEL ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help env demo test test-slow test-all check format lock docs report-picture image-check spark-env airflow-env schemas-env kerberos-env bench clean

help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(STAMP) ## The environment in .venv, from the committed lock (PYTHON=python3.12 for another Python)

$(STAMP): $(LOCK) requirements/uv.lock.txt setup.py VERSION
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else f"Hivemill needs Python 3.10 to 3.13; {sys.executable} is {v[0]}.{v[1]}. Use make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.lock.txt
	@# uv is quicker, but does not read pip's configuration (index, certificates): the index is handed on, and where uv
	@# cannot reach it, pip installs the same lock.
	@INDEX="$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null || true)}"; \
	if [ -n "$$INDEX" ]; then export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$INDEX}"; fi; \
	echo "Installing the locked environment into $(VENV)"; \
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --system-certs --require-hashes --no-deps -r $(LOCK) || \
	{ echo "uv could not; pip takes a few minutes"; $(BIN)/python -m pip install --quiet --require-hashes --no-deps -r $(LOCK); } || \
	{ echo "If pyfarmhash did not build: it has no wheel, and takes g++ and Python's headers (apt-get install g++ python3-dev)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: env ## The main job on a generated click log: from the log to a pushed model and a report, in ./demo
	@test -e $(DEMO)/hivemill.yaml || $(BIN)/hivemill init $(DEMO)
	$(BIN)/hivemill --config $(DEMO)/hivemill.yaml run --date $(DATE)

test: env ## The tests, without the slow ones (under 10 minutes on 2 cores)
	tests/in_halves.sh $(BIN)/python -m "not slow"

spark-env: $(SPARK)/.installed ## Spark in .venvs/spark, for the conformance tests (they need Java too)

$(SPARK)/.installed: requirements/spark.lock.txt
	@test -x $(SPARK)/bin/python || $(PYTHON) -m venv $(SPARK)
	$(SPARK)/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/spark.lock.txt
	@touch $@

airflow-env: $(AIRFLOW)/.installed ## Airflow in .venvs/airflow, for the test that imports the DAG file

$(AIRFLOW)/.installed: requirements/airflow.lock.txt
	@test -x $(AIRFLOW)/bin/python || $(PYTHON) -m venv $(AIRFLOW)
	$(AIRFLOW)/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/airflow.lock.txt
	@touch $@

schemas-env: $(SCHEMAS)/.installed ## Schemas of Compose and KServe in .venvs/schemas, for the tests of the manifests

$(SCHEMAS)/.installed: requirements/schemas.lock.txt
	@test -x $(SCHEMAS)/bin/python || $(PYTHON) -m venv $(SCHEMAS)
	$(SCHEMAS)/bin/python -m pip install --quiet --require-hashes --no-deps --no-compile -r requirements/schemas.lock.txt
	@touch $@

kerberos-env: env ## The Python package kerberos, into .venv: built here, it needs gcc and libkrb5-dev
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/kerberos.lock.txt

test-slow: env ## The slow tests: kill, Spark, Airflow, Java, schemas, image; what is missing for one is said in its skip
	HIVEMILL_SPARK_PYTHON="$${HIVEMILL_SPARK_PYTHON:-$(wildcard $(abspath $(SPARK))/bin/python)}" \
	HIVEMILL_AIRFLOW_PYTHON="$${HIVEMILL_AIRFLOW_PYTHON:-$(wildcard $(abspath $(AIRFLOW))/bin/python)}" \
	tests/in_halves.sh $(BIN)/python -m slow --durations=25

test-all: test test-slow ## All tests

check: env ## Style, imports and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: env ## Formats the code
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lock: ## Makes the lock files anew from requirements/*.in (needs uv on PATH or in .venv)
	cd requirements && UV=$$(command -v ../$(BIN)/uv || command -v uv) && \
	$$UV pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" --override overrides.txt dev.in -o requirements.lock && \
	$$UV pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" uv.in -o uv.lock.txt && \
	$$UV pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" spark.in -o spark.lock.txt && \
	$$UV pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" airflow.in -o airflow.lock.txt && \
	$$UV pip compile --quiet --upgrade --no-deps --universal --python-version 3.10 --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" schemas.in -o schemas.lock.txt && \
	$$UV pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" kerberos.in -o kerberos.lock.txt

docs: env ## Makes the generated pages of docs/ anew
	$(BIN)/python -m hivemill.pipeline.config.reference > docs/config.md

report-picture: env ## docs/report.png anew, from the demo's last run (needs Chromium)
	$(BIN)/python docs/screenshot.py "$$(ls -td $(DEMO)/*/runs/*/ | head -n 1)"

image-check: ## The Dockerfile's steps and a demo run in a Debian 13 root (needs root and debootstrap; 20 minutes)
	$(PYTHON) deploy/check_image.py --demo

bench: env ## One benchmark: make bench NAME=example_gen
	$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

clean: ## Removes the environment and the demo
	rm -rf $(VENV) .venvs $(DEMO) build dist *.egg-info
