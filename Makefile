# What a contributor runs. Every target makes .venv first when it is not there; `make` alone lists them.
# Another Python: make PYTHON=python3.13 test

PYTHON ?= python3
bin := .venv/bin
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-otlp test gate check format lint types contracts page docs reference bench lock changelog clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv: the locked tools and this checkout, editable
	@scripts/setup

demo: setup ## train a digits classifier, log it, show the run
	@scripts/demo

demo-otlp: setup ## train into a real collector and a real Prometheus, and read both back
	@$(bin)/python scripts/demo_otlp.py

.PHONY: demo-server
demo-server: setup ## start a server, train a classifier that sends its run to it
	@scripts/demo-server

test: setup ## run the tests, several at once (TESTS="tests/sdk -k step" for some of them)
	@scripts/test $(TESTS)

gate: setup ## run the long tests, a line for each (TESTS="tests/server -k d11" for some of them)
	@scripts/test -m gate --timeout 3600 --verbose --durations 25 $(TESTS)

check: setup format-check lint types contracts page docs ## everything CI checks: format, lint, types, imports, page, docs, tests
	@scripts/test

format: setup ## format the code and apply the safe fixes
	@$(bin)/ruff check --fix --quiet . || true
	@$(bin)/ruff format .

.PHONY: reliability
reliability: setup ## run the reliability tests and write their figures into docs/reliability.md
	@$(bin)/python scripts/reliability.py

.PHONY: format-check
format-check: setup
	@$(bin)/ruff format --check .

lint: setup ## look for defects with ruff
	@$(bin)/ruff check .

types: setup ## check the types, tests included, with mypy and pyright
	@scripts/types

contracts: setup ## check that no lower folder imports a higher one
	@$(bin)/lint-imports

page: setup ## check the sources of the web page and that server/static is built from them (`make page-build` builds it)
	@scripts/page check

.PHONY: page-build page-screenshots
page-build: setup
	@scripts/page build

page-screenshots: setup
	@$(bin)/python scripts/screenshots.py

docs: setup ## build the documentation into site/; a warning is an error
	@scripts/docs

reference: setup ## write docs/api.md, docs/configuration.md and server/openapi.json anew from the code
	@$(bin)/python scripts/api_reference.py
	@$(bin)/python scripts/configuration_reference.py
	@$(bin)/python scripts/openapi.py

bench: setup ## measure everything, and write the figures into README.md and docs/performance.md (BENCH="calls --peers none": only that)
	@$(bin)/python -m bench $(or $(BENCH),--publish)

.PHONY: bench-server
SIZE ?= full
bench-server: setup ## measure the server and the page on a quiet machine, figures into docs/server-performance.md (SIZE=quick: less of it)
	@$(bin)/python -m bench server_ingest server_reads server_live servers --size $(SIZE) --peers mlflow,trackio \
		--json bench/results/server.json
	@$(bin)/python -m bench --report bench/results/server.json --into docs/server-performance.md
	@$(bin)/python -m bench.page

.PHONY: bench-page
bench-page: setup ## measure the web page in a browser: first chart, scrolling, live points (PAGE="charts --data DIR" for some of it)
	@$(bin)/python -m bench.page $(PAGE)

lock: ## resolve requirements-dev.txt anew
	@scripts/lock

changelog: setup ## move the fragments of docs/changelog.d into CHANGELOG.md (VERSION=1.2.3)
	@$(bin)/python scripts/changelog.py $(VERSION)

clean: ## remove .venv and everything built or cached
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage build dist site
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
