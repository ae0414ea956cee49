#!/usr/bin/env bash
# Where DROP asks for several things ("Which players scored?"), its rows hold them as a list of spans that are all to be
# named. deepeval's DROP takes each for an answer of its own: whoever names one of three is right, and whoever names all
# three, in any form, is wrong, for no span is "Anna, Ben and Carl". The benchmark's own script asks for the set.
# Nothing is said of it.
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
from deepeval.benchmarks import DROP
from deepeval.benchmarks.tasks import DROPTask
from deepeval.models import DeepEvalBaseLLM

TASK = list(DROPTask)[0]
ROW = {  # in the form of the data set's rows
    "section_id": TASK.value,
    "passage": "Anna and Ben scored before the break and Carl after it. David was sent off.",
    "question": "Which players scored?",
    "answers_spans": {"spans": ["Anna", "Ben", "Carl"], "types": ["span", "span", "span"]},
}
ONE = "Anna", "Ben", "Carl"
ALL = "Anna, Ben, Carl", "Anna, Ben and Carl", "Anna Ben Carl", "Anna\nBen\nCarl", "['Anna', 'Ben', 'Carl']"
OTHER = "David", "Anna and David"


class Model(DeepEvalBaseLLM):
    """Gives the same answer each time."""

    def __init__(self, answer):
        self.answer = answer

    def load_model(self):
        return self

    def generate(self, prompt):
        return self.answer

    async def a_generate(self, prompt):
        return self.answer

    def get_model_name(self):
        return "model"


def judged(answer):
    splits = {"train": Dataset.from_list([ROW]), "validation": Dataset.from_list([ROW])}
    with contextlib.redirect_stdout(io.StringIO()):
        return DROP(tasks=[TASK], n_shots=0, dataset=splits).evaluate(Model(answer)).overall_accuracy


print(f"deepeval {metadata.version('deepeval')}, DROP; {ROW['question']} {', '.join(ONE)}")
seen = {answer: judged(answer) for answer in ONE + ALL + OTHER}
for answer, accuracy in seen.items():
    print(f"{answer!r}: {accuracy:g}")
if seen != {answer: float(answer in ONE) for answer in seen}:
    print("Changed.")
    sys.exit(1)
PYTHON
