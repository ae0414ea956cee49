#!/usr/bin/env bash
# deepeval's HumanEval works out pass@k of a task from its 200 samples and then counts every task as solved whose pass@k
# is not 0: the accuracy that evaluate(model, k=1) gives is the share of tasks that one sample of 200 solves, pass@200.
# A model that is right in one of 200 cases has 1 for 0.005. The estimates stand in the column Score of `predictions`.
# Nothing is said of it. (deepeval never calls the tests: deepeval-humaneval-test-not-called.sh. A wrong sample here is
# one that cannot be defined.)
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
    "test": "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate(2, 3) == 5\n",
}
RIGHT, WRONG = "def add(x, y):\n    return x + y", "def add(x, y:"


class Model(DeepEvalBaseLLM):
    """Has so many right samples."""

    def __init__(self, right):
        self.right = right

    def load_model(self):
        return self

    def generate(self, prompt):
        return RIGHT

    async def a_generate(self, prompt):
        return RIGHT

    def get_model_name(self):
        return "model"

    def generate_samples(self, prompt, n, temperature):
        return [RIGHT] * self.right + [WRONG] * (n - self.right)


def evaluated(model):
    benchmark = HumanEval(tasks=[HumanEvalTask.ADD], dataset={"test": Dataset.from_list([ROW])})
    with contextlib.redirect_stdout(io.StringIO()):
        accuracy = benchmark.evaluate(model, k=1).overall_accuracy
    return accuracy, round(float(benchmark.predictions["Score"][0]), 4)


print(f"deepeval {metadata.version('deepeval')}, HumanEval with k=1: the accuracy, and the estimate of pass@1")
seen = {right: evaluated(Model(right)) for right in (0, 1, 20, 200)}
for right, (accuracy, estimate) in seen.items():
    print(f"{right} of 200 samples right: {accuracy:g}; {estimate:g}")
known = {0: (0, 0), 1: (1, 0.005), 20: (1, 0.1), 200: (1, 1)}
if seen != known:
    print("Changed.")
    sys.exit(1)
PYTHON
