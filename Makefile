# From a bare checkout: `make run`, `make test`. Each verb brings the environment up to date first.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test browser screenshots check lint types contracts migrations format bench attack incident release lock clean

help:        ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

setup:       ## make the environment to run in, .venv
	@$(PYTHON) config/bootstrap.py

setup-dev:   ## the same with the tools for development
	@$(PYTHON) config/bootstrap.py --dev

run: setup   ## start everything with a live demo; Ctrl-C stops it (PORT=8000, DEMO=1, SPEED=1)
	@$(BIN)/python manage.py run

test: setup-dev browser  ## run the whole suite on a private PostgreSQL and Valkey (ARGS="-k trending")
	@$(BIN)/python -m recommender.core.warmup
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

browser:     ## install a Chromium for the console's tests, where this account may
	@$(PYTHON) config/chromium.py

screenshots: setup-dev browser  ## take pictures of the console's pages into docs/screenshots (ARGS="--url ... --account ...")
	@$(BIN)/python -m config.screenshots $(ARGS)

check: lint types contracts migrations  ## check style, types, import contracts and migrations

lint: setup-dev  ## check the style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup-dev  ## check the types
	@$(BIN)/mypy config recommender monitoring

contracts: setup-dev  ## check who imports whom
	@$(BIN)/lint-imports

migrations: setup-dev  ## check that no model changed without a migration
	@$(BIN)/python -m config.supervisor exec -- $(BIN)/python manage.py makemigrations --check --dry-run

format: setup-dev  ## fix the style
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: setup  ## measure this machine and print a table (ARGS="--json")
	@$(BIN)/python manage.py bench $(ARGS)

attack: setup ## run the attack benchmark; ten minutes on two cores (ARGS="--quick", ARGS="--readme")
	@$(BIN)/python manage.py attack run $(ARGS)

incident: setup ## rehearse an attack that passes the screen, and the way back; two minutes
	@$(BIN)/python manage.py incident $(ARGS)

release: setup-dev ## build the wheel and the sdist into dist/, and try the wheel (ARGS=--dev)
	@$(BIN)/python -m config.release $(ARGS)

LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
RUN_EXTRAS = --extra learn --extra firstrun --extra pictures --extra s3
lock:        ## resolve pyproject.toml into the lock files (needs uv; ARGS=--upgrade)
	@$(LOCK) $(ARGS) pyproject.toml $(RUN_EXTRAS) -o requirements.txt
	@$(LOCK) $(ARGS) pyproject.toml $(RUN_EXTRAS) --extra dev -c requirements.txt -o requirements-dev.txt
	@$(LOCK) $(ARGS) pyproject.toml -c requirements.txt -o requirements-web.txt
	@$(LOCK) $(ARGS) pyproject.toml --extra learn --extra s3 -c requirements.txt -o requirements-learn.txt
	@echo uv | $(LOCK) $(ARGS) - -o config/installer.txt
	@echo hatchling | $(LOCK) $(ARGS) - -c requirements-dev.txt -o config/builder.txt

clean:       ## remove the environment and caches; the data in .groundswell stays
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis static
