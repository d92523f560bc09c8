# Two commands do everything on a fresh machine with git, make and Python 3.11 or newer:
#
#   make book    the site, in _build/html
#   make test    every test
#
# Each makes the environment .venv by itself when it is not there or no longer what
# requirements.txt says. `make` alone lists the other goals. What passed is not run again
# until a file changes; AGAIN=yes runs it anyway.

PYTHON ?= python3
PORT ?= 8000
# The address of an index with other builds of PyTorch, such as
# https://download.pytorch.org/whl/cpu for machines without a GPU.
TORCH_INDEX ?=
export TORCH_INDEX
AGAIN ?=
export AGAIN
export OMP_NUM_THREADS ?= 1

RUN := .venv/bin/python
BROWSER := $(or $(CHROME),$(shell command -v chromium || command -v chromium-browser || command -v google-chrome))
CODE := kanlite tools tests benchmarks exercises book

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help environment book serve test lint types unit nbval site browser notebooks \
	status campaign lock clean distclean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

environment: ## .venv, from requirements.txt
	@$(PYTHON) tools/environment.py

book: environment ## the site: says where to open it
	@$(RUN) -m tools.build_book

serve: book ## the site at http://localhost:8000 (PORT=... for another port)
	@echo "Serving http://localhost:$(PORT) (Ctrl-C ends it)"
	@$(RUN) -m http.server $(PORT) --bind localhost --directory _build/html

# In this order: what is quick and tells most comes first, and the notebooks' one run
# gives the outputs that the site then shows.
test: lint types unit nbval site browser ## every test
	@echo "All tests passed."

lint: environment ## style of the code, in notebooks too
	@echo "== lint"
	@$(RUN) -m ruff check $(wildcard $(CODE))
	@$(RUN) -m ruff format --check $(wildcard $(CODE))
	@$(RUN) -m ruff check --isolated --line-length 100 --target-version py311 \
		--extend-exclude exercises/student --select E4,E9,F,I,B,UP \
		--ignore B007,B008,B023,B905,UP031 $(wildcard book exercises)

types: environment ## static types of the package
	@echo "== types"
	@$(RUN) -m mypy

unit: environment ## unit tests, examples in docstrings, generated files in step
	@echo "== unit tests"
	@$(RUN) -m tools.once unit $(RUN) -m pytest -q -n 2 tests --ignore=tests/site

nbval: environment ## notebooks that changed: every cell runs, checked outputs come again
	@echo "== notebooks"
	@$(RUN) -m tools.validate $(if $(AGAIN),--all)

site: environment ## the book with warnings as errors
	@echo "== book"
	@$(RUN) -m tools.build_book --strict

browser: site ## the built site in a browser
	@echo "== browser"
	@$(RUN) -m tools.once browser$(if $(BROWSER),,-missing) $(RUN) -m pytest -q -rs tests/site

notebooks: environment ## everything that is generated: twins, student copies, ledger, links
	@$(RUN) -m tools.address --write
	@$(RUN) -m tools.notebooks headers
	@$(RUN) -m tools.notebooks build
	@$(RUN) -m tools.notebooks student
	@$(RUN) -m tools.ledger
	@$(RUN) -m tools.status

status: environment ## run every notebook and write down the times
	@$(RUN) -m tools.validate --all
	@$(RUN) -m tools.status --measure

campaign: environment ## run every notebook three times: the same checked outputs each time
	@$(RUN) -m tools.notebooks check --execute --times 3

lock: environment ## requirements.txt anew, from pyproject.toml
	@$(PYTHON) tools/environment.py --lock

clean: ## remove what was built
	rm -rf _build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## and the environment
	rm -rf .venv
