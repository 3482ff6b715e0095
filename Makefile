# A newcomer needs two commands: `make demo` and `make test`. Both install what they need on first use.
SHELL := /bin/bash
BIN := .venv/bin
# Tests run in this many processes; a second thread in each was slower on two cores.
WORKERS ?= 2

.PHONY: help demo napari screenshots docs quick test test-long system clean

help:
	@echo 'make demo         the whole job on an embedded example, without a window'
	@echo 'make napari       the review of that example in a napari window'
	@echo 'make screenshots  the pictures in docs/'
	@echo 'make docs         the documentation as a site, in docs/_build/'
	@echo 'make quick        what most changes need, in a minute and a half'
	@echo 'make test         every check, in the order of how fast it answers'
	@echo 'make test-long    guarantees that take hours of chance or the demo at its full size; before a release'
	@echo 'make clean        removes .venv and everything that the other commands made'

demo: system .venv/.ready
	tools/under-xvfb $(BIN)/memscan demo

napari: .venv/.ready
	@test -d memscan-demo || $(MAKE) demo
	$(BIN)/memscan review memscan-demo

screenshots: system .venv/.ready
	tools/under-xvfb $(BIN)/python docs/make_screenshots.py

# Warnings are errors: a link that leads nowhere, a name in the reference that is not there.
docs: .venv/.ready
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

# Rooms whose tests neither train, nor scan whole studies, nor open windows; what does so among them is
# marked slow. Types are checked beside the tests: neither needs both processors all the time.
QUICK := detection volumes review report embedders generators checkpoints test_house.py test_sentences.py
quick: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/mypy & types=$$!; \
	$(BIN)/pytest -n $(WORKERS) -q -m 'not slow and not long and not display' $(QUICK:%=tests/%) \
		--ignore tests/checkpoints/families --ignore tests/checkpoints/trusted $(ARGS); \
	tests=$$?; wait $$types && exit $$tests

test: system .venv/.ready
	@tools/system-libraries tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/npe2 validate --imports napari_memscan
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --cov --cov-report= $(ARGS)
	$(BIN)/coverage report --omit '*/napari_memscan/widgets/*' --fail-under=90
	$(BIN)/coverage report --include '*/napari_memscan/widgets/*' --fail-under=85

test-long: system .venv/.ready
	@tools/system-libraries tests
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m long $(ARGS)

# Looks every time, which takes no time, and installs only what is missing.
system:
	@tools/system-libraries

.venv/.ready: pyproject.toml constraints.txt
	tools/make-venv
	@touch $@

clean:
	rm -rf .venv build dist docs/_build memscan-demo src/*.egg-info .coverage* .*_cache
