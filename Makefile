# make demo: the whole program on embedded data, from nothing. `make help` lists the rest.
# The first target that needs Python sets up .venv by itself; PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
# half of the recipe's steps: swaps convince classifier / oracle in 0.98 / 0.96 instead of 0.99 / 0.98
DEMO := configs/lesions.yaml name=demo cae.max_steps=400 cae.validate_every=200
BENCHMARKS := $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))

export MPLBACKEND := Agg

# CI=true runs everything; without it, tests marked slow are left out
ifeq ($(CI),true)
CHOICE :=
else
CHOICE := -m "not slow"
endif

.DEFAULT_GOAL := help
.PHONY: help demo demo-clean test lint docs docs-modules docs-notebooks bench

help:
	@echo "make demo        train classifier and CAE on the embedded data, explain images, and make a report to look at"
	@echo "                 (stopped? run it again: finished stages are reused, an interrupted one goes on)"
	@echo "make demo-clean  remove runs/demo"
	@echo "make test        tests, without the slow ones; CI=true make test runs all; ARGS=... goes to pytest"
	@echo "make lint        ruff and mypy"
	@echo "make docs        the site of the documents, into site/; a warning is an error"
	@echo "make docs-modules  the list of modules in docs/architecture.md, from the modules' first sentences"
	@echo "make docs-notebooks  the notebooks of the tutorials, from their pages"
	@echo "make bench       every script of benchmarks/, which measure what the documents claim"
	@echo "PYTHON=python3.12 make ... sets .venv up with another interpreter (3.10 or later)"

$(INSTALLED): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: no '$(PYTHON)' here; name an interpreter: PYTHON=... make" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "error: $$($(PYTHON) --version) is too old, 3.10 or later is needed: PYTHON=... make" >&2; exit 2; }
	@$(RUN) -m pip --version >/dev/null 2>&1 || { echo "setting up $(VENV) (once)"; $(PYTHON) -m venv $(VENV); } \
	  || { echo "error: '$(PYTHON) -m venv' does not work here; install the package python3-venv" \
	       "of your system, or choose another interpreter: PYTHON=... make" >&2; exit 2; }
	@$(RUN) -m pip install --quiet --disable-pip-version-check uv \
	  && $(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(RUN) -e '.[dev]' \
	  || { echo "uv did not do it, trying pip (slower)"; \
	       $(RUN) -m pip install --quiet --disable-pip-version-check -e '.[dev]'; }
	@touch $@

# resume=last starts what has not begun, continues what was interrupted and reuses what is finished
demo: $(INSTALLED)
	$(RUN) train.py classifier $(DEMO) resume=last
	$(RUN) train.py cae $(DEMO) resume=last
	$(RUN) explain.py traverse $(DEMO) traverse.limit=150 traverse.pictures=24 traverse.save=all
	$(RUN) explain.py manifold $(DEMO)
	$(RUN) explain.py report $(DEMO)
	@echo
	@echo "Done. Open runs/demo/report.html in a browser; the pictures behind it:"
	@ls runs/demo/explanations/traverse/gallery.png
	@ls runs/demo/explanations/traverse/strips/*.png | head -n 4
	@ls runs/demo/explanations/traverse/gifs/*.gif | head -n 2
	@ls runs/demo/explanations/manifold/*.png
	@echo "Everything, with metrics.json and the trained models, lies in runs/demo"

demo-clean:
	rm -rf runs/demo

test: $(INSTALLED)
	@echo "tests: $(if $(CHOICE),all but those marked slow (CI=true make test runs all),all)"
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadscope --no-loadscope-reorder $(CHOICE) $(ARGS)

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

# nothing is fetched: fonts, styles and scripts of the site come with the packages
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 OMP_NUM_THREADS=1 $(RUN) -m mkdocs build --strict
	@echo "open site/index.html"

docs-modules: $(INSTALLED)
	$(RUN) docs/scripts/modules.py

docs-notebooks: $(INSTALLED)
	$(RUN) docs/scripts/notebooks.py

bench: $(INSTALLED)
ifeq ($(BENCHMARKS),)
	@echo "benchmarks/ holds no script"
else
	@echo "to run: $(BENCHMARKS)"
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(RUN) $$script; done
endif
