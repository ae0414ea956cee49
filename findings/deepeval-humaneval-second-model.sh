#!/usr/bin/env bash
# A HumanEval of deepeval that has evaluated one model never asks another one: it keeps the samples and the counts of
# each task, without the model that they are of, and every later model has the first one's accuracy. In a loop over
# checkpoints with one benchmark nothing is ever forgotten. The other benchmarks ask each model. Nothing is said of it.
# (Whether a program is right is judged by its definition alone: deepeval-humaneval-test-not-called.sh.)
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
from deepeval.benchmarks import GSM8K, HumanEval
from deepeval.benchmarks.tasks import HumanEvalTask
from deepeval.models import DeepEvalBaseLLM

PROGRAM_ROW, SUM_ROW = (  # in the form of the data sets' rows
    {
        "entry_point": "add",
        "prompt": 'def add(x: int, y: int):\n    """Add two numbers x and y"""\n',
        "test": "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate(2, 3) == 5\n",
    },
    {"question": "What is 2 plus 3?", "answer": "It is 5.\n#### 5"},
)


class Checkpoint(DeepEvalBaseLLM):
    """Is always right, or has forgotten all."""

    def __init__(self, able):
        self.able = able
        self.asked = 0

    def load_model(self):
        return self

    def generate(self, prompt):
        self.asked += 1
        return "5" if self.able else ""

    async def a_generate(self, prompt):
        return self.generate(prompt)

    def get_model_name(self):
        return "able" if self.able else "unable"

    def generate_samples(self, prompt, n, temperature):
        self.asked += 1
        return ["def add(x, y):\n    return x + y" if self.able else "def add(x, y:"] * n


def one_after_another(benchmark, *able):
    """Each checkpoint's accuracy, and how often it was asked."""
    found = []
    for checkpoint in map(Checkpoint, able):
        with contextlib.redirect_stdout(io.StringIO()):
            found.append((benchmark.evaluate(checkpoint).overall_accuracy, checkpoint.asked))
    return found


def human_eval():
    return HumanEval(tasks=[HumanEvalTask.ADD], n=5, dataset={"test": Dataset.from_list([PROGRAM_ROW])})


sums = {split: Dataset.from_list([SUM_ROW]) for split in ("train", "test")}
seen = {
    "GSM8K, able and then unable": one_after_another(GSM8K(n_problems=1, n_shots=0, dataset=sums), True, False),
    "HumanEval, each with its own": one_after_another(human_eval(), True) + one_after_another(human_eval(), False),
    "HumanEval, able and then unable": one_after_another(human_eval(), True, False),
    "HumanEval, unable and then able": one_after_another(human_eval(), False, True),
}
print(f"deepeval {metadata.version('deepeval')}, the accuracy of two checkpoints, and how often each was asked")
for name, pairs in seen.items():
    print(f"{name}: " + "; ".join(f"{accuracy:g}, asked {asked}" for accuracy, asked in pairs))
known = [[(1, 1), (0, 1)], [(1, 1), (0, 1)], [(1, 1), (1, 0)], [(0, 1), (0, 0)]]
if list(seen.values()) != known:
    print("Changed.")
    sys.exit(1)
PYTHON
