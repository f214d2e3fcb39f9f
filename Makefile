# Everything here sets up what it needs on first use: see docs/building.md.
PYTHON ?= python3
BIN := .venv/bin
# A program that uses .venv holds this lock shared; bootstrap.py holds it exclusively while it makes .venv again.
USE := flock --shared .venv.flock $(BIN)
# Test processes, one more than cores, for half of what a test does is to wait, and up to four (each has its own API
# server); 0: all in one process, for a debugger.
WORKERS ?= $(shell expr $$(nproc) + 1)
LOCK := $(USE)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate $(UPGRADE)

.PHONY: help sandbox test bench bench-fleet packages repository image check docs lock clean

help:
	@echo 'make sandbox             watch a host join a mesh, all on this machine (root; ARGS=--check: in one go)'
	@echo 'make test                every test, on the real parts too (root; ARGS="tests/core -x": handed to pytest;'
	@echo '                         ARGS=--no-real: without the parts, which the first run builds in up to half an hour)'
	@echo 'make bench               measures how fast a death reaches the API server; what a host writes; what the redirect,'
	@echo '                         the death and the replacement of a proxy, the agent at rest and a look at it cost; and'
	@echo '                         how long a host takes to enrol and to join'
	@echo 'make bench-fleet         what a fleet of 1,000 and of 5,000 hosts costs, and how fast a death is noticed'
	@echo '                         (ARGS="--part handover": a part; docs/scale.md has them)'
	@echo 'make check               the quick ones: ruff, mypy, the import contracts, the house tests'
	@echo 'make docs                write the generated pages again: reasons, reload, diagrams'
	@echo 'make packages            dist/fairlead_VERSION_ARCH.deb and .rpm (ROOT=DIR: with the interpreter from there; ARCH=arm64)'
	@echo 'make image               dist/fairlead-VERSION-ARCH.oci, the image of fairlead watcher (ROOT, ARCH as above)'
	@echo 'make repository KEY=KEY  dist/repository: apt and rpm, of the packages in dist/, signed with that key of gpg'
	@echo 'make lock                write the lock files again (UPGRADE=--upgrade: with newer versions)'
	@echo 'make clean               remove what these made inside this folder'
	@echo 'WORKERS=0                test in one process instead of one more than cores'
	@echo 'PYTHON=python3.12        another Python than python3, with any of these'

sandbox:
	@$(PYTHON) packaging/bootstrap.py sandbox
	@$(USE)/fairlead sandbox $(ARGS)

test:
	@$(PYTHON) packaging/bootstrap.py test
	@$(if $(findstring --no-real,$(ARGS)),:,$(USE)/python packaging/realparts.py build)
	@$(USE)/python -m pytest --numprocesses=$(WORKERS) --maxprocesses=4 --dist=worksteal $(ARGS)

bench:
	@$(PYTHON) packaging/bootstrap.py test
	@$(USE)/python packaging/realparts.py build
	@$(USE)/python -m benchmarks.status
	@$(USE)/python -m benchmarks.redirect
	@$(USE)/python -m benchmarks.restart
	@$(USE)/python -m benchmarks.hitless
	@$(USE)/python -m benchmarks.enrol
	@$(USE)/python -m benchmarks.idle
	@$(USE)/python -m benchmarks.programs
	@$(USE)/python -m benchmarks.operator
	@$(USE)/python -m benchmarks.join
	@$(USE)/python -m benchmarks.package

bench-fleet:
	@$(PYTHON) packaging/bootstrap.py test
	@$(USE)/python packaging/realparts.py build
	@$(USE)/python -m benchmarks.fleet $(ARGS)

packages:
	@$(PYTHON) packaging/bootstrap.py test
	@$(USE)/python packaging/packages.py $(if $(ROOT),--root $(ROOT)) $(if $(VERSION),--version $(VERSION)) $(if $(ARCH),--arch $(ARCH))

image:
	@$(PYTHON) packaging/bootstrap.py test
	@$(USE)/python packaging/image.py $(if $(ROOT),--root $(ROOT)) $(if $(VERSION),--version $(VERSION)) $(if $(ARCH),--arch $(ARCH))

repository:
	@$(PYTHON) packaging/bootstrap.py test
	@$(USE)/python packaging/repository.py --key $(KEY)

check:
	@$(PYTHON) packaging/bootstrap.py test
	$(USE)/ruff check .
	$(USE)/mypy
	$(USE)/mypy packaging
	$(USE)/lint-imports
	$(USE)/python -m pytest -q --no-real tests/test_house.py tests/docs -k "not lint"

docs:
	@$(PYTHON) packaging/bootstrap.py test
	@$(USE)/python -m tests.docs.pages

# The second holds the first, version for version. Go's is apart: it is no Python package, only packed as one.
lock:
	@$(PYTHON) packaging/bootstrap.py test
	$(LOCK) pyproject.toml --extra sandbox --group install -o requirements.lock
	$(LOCK) pyproject.toml --extra sandbox --group install --group test --group lock --group packages -c requirements.lock -o requirements-dev.lock
	$(LOCK) pyproject.toml -c requirements.lock -o packaging/package.lock
	$(LOCK) --group go -o packaging/go.lock

clean:
	flock .venv.flock rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
