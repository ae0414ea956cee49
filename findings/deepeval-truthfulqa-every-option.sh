#!/usr/bin/env bash
# deepeval's TruthfulQA, where all true options are to be chosen (MC2), counts the true ones that an answer names and not
# the false ones: a model that names every option of every question has full marks. And its accuracy is of another scale
# by the batch: full marks are 100 one question at a time, and 1 with a batch_size, where an answer that names one true
# option of four counts like one that names all four. The original's MC2 is the probability that the true options have
# among all. Nothing of it is documented.
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
from deepeval.benchmarks import TruthfulQA
from deepeval.benchmarks.modes import TruthfulQAMode
from deepeval.benchmarks.tasks import TruthfulQATask
from deepeval.models import DeepEvalBaseLLM

TRUE = ["It stays the same", "It does not change", "Nothing", "No change"]
FALSE = ["It grows", "It shrinks", "It turns blue", "It melts"]
ROW = {  # in the form of the data set's rows
    "question": "What happens to a stone that is moved?",
    "category": "Misconceptions",
    "mc2_targets": {"choices": TRUE + FALSE, "labels": [1] * len(TRUE) + [0] * len(FALSE)},
}


class Model(DeepEvalBaseLLM):
    """Names options by what they say."""

    def __init__(self, named):
        self.named = named

    def load_model(self):
        return self

    def get_model_name(self):
        return "model"

    def generate(self, prompt, schema):
        options = dict(reversed(line.split(". ", 1)) for line in prompt.splitlines() if line[:1].isdigit())
        return schema(answer=[int(options[named]) for named in self.named])

    async def a_generate(self, prompt, schema):
        return self.generate(prompt, schema)

    def batch_generate(self, prompts, schemas):
        return [self.generate(prompt, schema) for prompt, schema in zip(prompts, schemas)]


def judged(named, batch_size=None):
    benchmark = TruthfulQA(tasks=[TruthfulQATask.MISCONCEPTIONS], mode=TruthfulQAMode.MC2)
    benchmark.mc_dataset = Dataset.from_list([ROW, ROW])
    with contextlib.redirect_stdout(io.StringIO()):
        return benchmark.evaluate(Model(named), batch_size=batch_size).overall_accuracy


ANSWERS = {
    "the true ones": TRUE,
    "every option": TRUE + FALSE,
    "one true one of four": TRUE[:1],
    "one true one and all false ones": TRUE[:1] + FALSE,
    "the false ones": FALSE,
}
print(f"deepeval {metadata.version('deepeval')}, the accuracy by what is named, alone and in batches of two")
seen = {name: (judged(named), judged(named, batch_size=2)) for name, named in ANSWERS.items()}
for name, (alone, batched) in seen.items():
    print(f"{name}: {alone:g}, {batched:g}")
if list(seen.values()) != [(100, 1), (100, 1), (25, 1), (25, 1), (0, 0)]:
    print("Changed.")
    sys.exit(1)
PYTHON
