# Every command of this project. `make` alone lists them.

PORT ?= 5052
ARGS ?=
PYTHON ?=
VENV := .venv/bin
APPS := gateway models_registry features prompts

export PYTHON

# The set-up is a no-op of a few milliseconds when nothing changed.
setup = python=$$(sh scripts/find_python.sh) && "$$python" scripts/setup.py

# What `check --deploy` needs to see in order to judge the production settings; used nowhere else.
DEPLOY := SECRET_KEY=only-for-the-deploy-check-0123456789-abcdefghijklmnopqrstuvwxyz \
	GATEWAY_ENCRYPTION_KEYS=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE= \
	ALLOWED_HOSTS=enclave.example.com \
	DATABASE_URL=postgres://enclave@127.0.0.1/enclave \
	REDIS_URL=redis://127.0.0.1:6379/0 \
	GATEWAY_GITLAB_URL=https://gitlab.example.com \
	GATEWAY_SIGNING_KEY_FILE=/etc/enclave/signing_key.pem \
	GATEWAY_DATA_DIR=/var/lib/enclave \
	GATEWAY_AUDIT_ANCHORS=unix:///dev/log

# A network namespace of its own for a command; whoever is not root needs one for users too.
isolate = unshare --net $(if $(filter-out 0,$(shell id -u)),--map-current-user --keep-caps)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test ci isolated lint types check format snapshots coverage tamper bench bundle lock clean

help:  ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## Make .venv and install what production runs
	@$(setup) run

setup-dev:
	@$(setup) dev

run: setup  ## Set up and start everything; PORT=5052 chooses the port
	@exec $(VENV)/python manage.py serve --port $(PORT)

test: setup-dev  ## Set up and run the tests; ARGS="-k stream" passes options to pytest
	@exec $(VENV)/python -m pytest $(ARGS)

ci: lint types check isolated  ## Everything that CI checks, cheapest first

isolated: setup-dev  ## Run the tests two at a time, where loopback is all the network; needs Linux
	@$(isolate) $(VENV)/python -m tests.rig.loopback_only \
		$(VENV)/python -m pytest -m "not index" --numprocesses 2 --dist worksteal $(ARGS)
	@$(VENV)/python -m pytest -m index

lint: setup-dev  ## Check style, import rules and layout; change nothing
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/lint-imports
	@$(VENV)/python scripts/lint_layout.py

types: setup-dev  ## Check types, strictly
	@$(VENV)/mypy .

check: setup-dev  ## Check Django's settings, also production's, and forgotten migrations
	@DJANGO_SETTINGS_MODULE=gateway.settings.test \
		$(VENV)/python manage.py check --fail-level WARNING
	@DJANGO_SETTINGS_MODULE=gateway.settings.test \
		$(VENV)/python manage.py makemigrations --check --dry-run
	@DJANGO_SETTINGS_MODULE=gateway.settings.production $(DEPLOY) \
		$(VENV)/python manage.py check --deploy --fail-level WARNING

format: setup-dev  ## Format the code and apply safe fixes
	@$(VENV)/ruff check --fix .
	@$(VENV)/ruff format .

snapshots: setup-dev  ## Write the prompt snapshots anew; review the difference as code
	@$(VENV)/python -m pytest tests/prompts --snapshot-update $(ARGS)

coverage: setup-dev  ## Run the tests and say which lines none of them reaches
	@$(VENV)/coverage run -m pytest $(ARGS)
	@$(VENV)/coverage report

tamper: setup-dev  ## Forge the audit log in every known way, 100 times each; TRIALS=10 for fewer
	@TAMPER_TRIALS=$(or $(TRIALS),100) $(VENV)/python -m pytest \
		tests/gateway/audit/chain/test_tampering.py $(ARGS)

bench: setup-dev  ## Run the benchmarks
	@$(VENV)/python benchmarks/run.py $(ARGS)

bundle: setup-dev  ## Make dist/enclave-….tar.gz, which is installed without a network
	@$(VENV)/python scripts/bundle.py

lock:  ## Resolve requirements*.in into the hash-locked files; ARGS=--upgrade takes newer releases; needs uv
	@command -v uv >/dev/null || { echo "make lock needs uv (https://docs.astral.sh/uv/)." >&2; exit 1; }
	@for name in requirements requirements-bedrock requirements-dev; do \
		uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
			$(ARGS) -o $$name.txt $$name.in || exit 1; \
	done

clean:  ## Remove what tools left behind; keeps .venv and var
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
