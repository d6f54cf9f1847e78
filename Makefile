# `make explain` and `make test` set up what is missing; nothing else is needed than
# Python 3.11 or later and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := $(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python
OUT ?= out
TEST_PROCESSES ?= 2
# Some machines forbid it; then every process compiles all of JAX's modules by itself.
unexport PYTHONDONTWRITEBYTECODE
# What rounding can change: transforms, objectives, noises, searches, attributions.
NUMBERS := $(addprefix tests/,test_representations.py test_objective.py \
  test_perturbations.py test_solvers.py test_aligned.py test_obfuscations.py \
  attribution/test_gradients.py attribution/test_lrp.py)
SMOKES := $(filter-out __init__ common,$(basename $(notdir $(wildcard configs/*.py))))

.PHONY: help explain playground test test-rounding test-slow test-browser smokes bench lint typecheck doctest docs lock wheel clean $(SMOKES:%=smoke-%)

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# uv installs what pip would, checked by the same hashes, in a tenth of the time.
$(STAMP): pyproject.toml requirements/dev.txt requirements/uv.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) 2>/dev/null || { \
	  echo "setting up Python's venv module (Debian keeps it in a package of its own)"; \
	  rm -rf $(VENV); \
	  apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(UV) --require-hashes -r requirements/dev.txt
	$(UV) --no-deps --no-build-isolation --editable .
	@touch $@

explain: $(STAMP) ## explain a photograph with EfficientNet-Lite0
	@$(BIN)/cawe explain sample:coffee --out $(OUT)
	@echo "The figure: $(OUT)/coffee.png"

playground: $(STAMP) ## the interactive article, in the browser
	@$(BIN)/cawe playground

test: $(STAMP) ## the fast tests
	$(BIN)/python -m pytest -m "not slow and not browser" -n $(TEST_PROCESSES) --dist worksteal

test-rounding: $(STAMP) ## the fast tests of numbers, rounded as an older processor does
	$(if $(filter x86_64,$(shell uname -m)),\
	  XLA_FLAGS=--xla_cpu_max_isa=AVX $(BIN)/python -m pytest -m "not slow and not browser" \
	    -n $(TEST_PROCESSES) --dist loadfile $(NUMBERS),\
	  @echo "no test: only processors of the kind x86_64 can round as older ones do")

test-slow: $(STAMP) ## parity with PyTorch and whole runs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/oracles.txt
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest -m "slow and not browser" \
	  -n $(TEST_PROCESSES) --dist worksteal --durations=20

test-browser: $(STAMP) ## the playground in a real browser, and behind nginx (installs both on Debian)
	@{ command -v chromium && command -v nginx; } >/dev/null \
	  || ! command -v apt-get >/dev/null || { apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends chromium nginx-light; }
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest -m browser

smokes: $(SMOKES:%=smoke-%) ## every experiment, with a few steps on two photographs

$(SMOKES:%=smoke-%): smoke-%: $(STAMP)
	$(BIN)/python -m experiments.run --config=configs/$*.py:smoke --workdir=$(OUT)/smokes/$*

bench: $(STAMP) ## speed against PyTorch; IMAGES=FOLDER adds time to quality
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/oracles.txt
	$(BIN)/python -m experiments.bench $(if $(IMAGES),--images $(IMAGES))

lint: $(STAMP) ## format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

typecheck: $(STAMP) ## mypy
	$(BIN)/mypy

doctest: $(STAMP) ## the examples in docstrings
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest --doctest-modules cawe_jax -p no:cacheprovider

docs: $(STAMP) ## the documentation in build/docs; its notebooks are run
	JAX_PLATFORMS=cpu $(BIN)/python -m sphinx -W --keep-going -q -j 2 -d build/doctrees docs build/docs

lock: ## renew requirements/*.txt from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev \
	  --no-emit-package cawe-jax pyproject.toml requirements/build.in -o requirements/dev.txt
	grep -A 40 '^uv==' requirements/dev.txt | awk 'NR > 1 && /^[a-z]/ { exit } !/# via/' \
	  > requirements/uv.txt

wheel: $(STAMP) ## wheel and sdist in dist/
	$(BIN)/python -m build --quiet

clean: ## remove what was built, not the environment
	rm -rf build dist out .pytest_cache .mypy_cache .ruff_cache
