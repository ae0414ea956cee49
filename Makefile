# make demo       set up and run the demonstration experiment (configs/embedded/demo.yaml)
# make test       set up, run the linter and the tests, but for the slow ones
# make test-slow  the slow ones: whole runs, kills, ranks, served engines
# make test-cluster  the longer tests of stages on several ranks, and those of a Ray cluster
# make test-envs  the tests and the demo in four environments (tools/test_envs.sh; 20 GB of disk)
# make bench      set up and compare training steps, and an experiment, with TRL's (benchmarks/results/)
# make lint       set up, run the linter and the type checker
# make clean      remove the virtual environment and caches (results in runs/ stay)

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
STAMP := $(VENV)/.installed

# One thread per process: work is spread over processes, and results do not depend on the machine.
export OMP_NUM_THREADS := 1

.PHONY: demo test test-slow test-cluster test-envs bench lint clean
demo: $(STAMP)
	$(VENV)/bin/holdfast run configs/embedded/demo.yaml --workers $(WORKERS)

# Compiled code is kept, wherever else it is not: each process would rewrite the asserts of all tests again.
test test-slow: export PYTHONDONTWRITEBYTECODE :=
test: $(STAMP)
	$(VENV)/bin/ruff check src tests benchmarks tools
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal

test-slow: $(STAMP)
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "slow and not cluster"

test-cluster: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,ray]"
	$(VENV)/bin/python -m pytest -m cluster

test-envs:
	PYTHON=$(PYTHON) WORKERS=$(WORKERS) tools/test_envs.sh

bench: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	$(VENV)/bin/python benchmarks/rft_step.py --save
	$(VENV)/bin/python benchmarks/sft_step.py --save
	$(VENV)/bin/python benchmarks/experiment.py --save

lint: $(STAMP)
	$(VENV)/bin/ruff check src tests benchmarks tools
	$(VENV)/bin/mypy

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into $(VENV): the first time some minutes and about 2 GB."
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) .venvs build dist .pytest_cache .ruff_cache .mypy_cache src/*.egg-info
	find src tests benchmarks tools -name __pycache__ -prune -exec rm -rf {} +
