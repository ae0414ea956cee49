#!/usr/bin/env bash
# deepeval's HumanEval counts every program as right that can be defined. The data set's test defines a function check()
# that whoever runs it is to call with the program's function; deepeval puts the test behind the program and never calls
# it, so that no assertion is reached. A sum that multiplies is right, as is one that names a variable that is not
# there, and "x = 1". A right program that begins with an import is wrong, for imports fail there. None of it is
# documented.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DEEPEVAL=4.3.1 DATASETS=5.0.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "deepeval==$DEEPEVAL" "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
export DEEPEVAL_TELEMETRY_OPT_OUT=1 HF_HUB_OFFLINE=1 HF_HOME="$folder/hub"
"$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import contextlib
import importlib.metadata as metadata
import io
import sys

from datasets import Dataset
from deepeval.benchmarks import HumanEval
from deepeval.benchmarks.tasks import HumanEvalTask
from deepeval.models import DeepEvalBaseLLM

ROW = {  # in the form of the data set's rows
    "entry_point": "add",
    "prompt": 'def add(x: int, y: int):\n    """Add two numbers x and y"""\n',
    "test": "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(5, 7) == 12\n",
}
PROGRAMS = {
    "adds": "def add(x, y):\n    return x + y",
    "imports first": "from typing import List\n\ndef add(x, y):\n    return x + y",
    "multiplies": "def add(x, y):\n    return x * y",
    "gives nothing": "def add(x, y):\n    pass",
    "names what is not there": "def add(x, y):\n    return total",
    "no function": "x = 1",
    "no Python": "def add(x, y:",
}


class Model(DeepEvalBaseLLM):
    """Writes the same program each time."""

    def __init__(self, program):
        self.program = program

    def load_model(self):
        return self

    def generate(self, prompt):
        return self.program

    async def a_generate(self, prompt):
        return self.program

    def get_model_name(self):
        return "model"

    def generate_samples(self, prompt, n, temperature):
        return [self.program] * n


def judged(program):
    benchmark = HumanEval(tasks=[HumanEvalTask.ADD], n=5, dataset={"test": Dataset.from_list([ROW])})
    with contextlib.redirect_stdout(io.StringIO()):
        return benchmark.evaluate(Model(program), k=1).overall_accuracy


def tested(program):
    """The same test, called."""
    names = {}
    try:
        exec(f"{program}\n{ROW['test']}\ncheck(add)", names)
    except Exception:
        return 0
    return 1


print(f"deepeval {metadata.version('deepeval')}, pass@1 of programs that add two numbers or do not")
seen = {name: (judged(program), tested(program)) for name, program in PROGRAMS.items()}
for name, (theirs, ours) in seen.items():
    print(f"{name}: {theirs:g}; with the test called {ours}")
known = {"adds": (1, 1), "imports first": (0, 1), "no Python": (0, 0)}
if seen != {name: known.get(name, (1, 0)) for name in PROGRAMS}:
    print("Changed.")
    sys.exit(1)
PYTHON
