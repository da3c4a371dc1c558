# README's two commands, `make demo` and `make test`, set everything up by themselves.
# PYTHON=python3.12 make ... chooses the interpreter (3.10 to 3.12).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PYTHON

# Everything below runs inside the environment that `setup` made.
IN_VENV := export VIRTUAL_ENV="$(CURDIR)/.venv" PATH="$(CURDIR)/.venv/bin:$$PATH"; \
	unset PYTHONHOME;

# Files of the checkout, without what recipes and tools leave behind: those named $(1), and
# those whose first line names the interpreter $(2).
checkout = find . \( -name .git -o -name .venv -o -path './egs2/*/data' \
	-o -path './egs2/*/dump' -o -path './egs2/*/exp' -o -path './egs2/*/downloads' \
	-o -path './egs2/*/data_*' -o -path './egs2/*/dump_*' -o -path './egs2/*/exp_*' \) \
	-prune -o -type f
files = { $(checkout) -name '$(1)' -print; $(checkout) -exec awk \
	'FNR == 1 && /^\#!.*[\/ ]($(2))( |$$)/ { print FILENAME } { nextfile }' {} +; } | sort -u

.PHONY: help
help:  ## Show this list
	@echo "Usage: [PYTHON=python3.12] make <target>"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 10

.PHONY: setup
setup:  ## Make .venv with everything that is needed (once)
	@utils/setup_env.sh

.PHONY: demo
demo: setup  ## Run the mini recipe, stages 1 to 8: make, train, separate, score
	@$(IN_VENV) cd egs2/mini_music; ./run.sh --stage 1 --stop_stage 8; \
	local/make_duet.py --output_dir downloads/duet > /dev/null; \
	results=$$(ls -t exp/*/RESULTS.md | head -n 1); \
	echo; \
	echo "Scores:         egs2/mini_music/$$results"; \
	echo "Look, listen:   egs2/mini_music/$$(dirname "$$results")/report/index.html (in a browser)"; \
	echo "A duet to try:  . .venv/bin/activate"; \
	echo "                cd egs2/mini_music"; \
	echo "                avsep separate downloads/duet/duet.mp4 --sources left-right --out downloads/duet/tracks --model $$(dirname "$$results")"; \
	echo "                The model knows the eight drawn instruments of this corpus, and no others."

.PHONY: test
test: setup lint  ## Run the linters and all tests, on all cores
	@$(IN_VENV) python -m pytest -n auto --dist loadfile --no-loadscope-reorder tests

.PHONY: lint
lint: setup  ## Check style and types: ruff and mypy for Python, shellcheck for shell
	@$(IN_VENV) $(call files,*.py,python3?) | xargs -r ruff check
	@$(IN_VENV) $(call files,*.py,python3?) | xargs -r ruff format --check
	@$(IN_VENV) mypy
	@$(IN_VENV) $(call files,*.sh,(ba)?sh) | xargs -r shellcheck -x -P SCRIPTDIR

.PHONY: bench
bench: setup  ## Run the benchmarks of tests/benchmarks: one table, a quarter of an hour
	@$(IN_VENV) python -m tests.benchmarks

.PHONY: clean
clean:  ## Remove caches and .venv; data, dump and exp of the recipes stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build *.egg-info
	find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
