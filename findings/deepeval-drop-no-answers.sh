#!/usr/bin/env bash
# The few-shot examples of deepeval's DROP are five passages and questions without their answers: after each "Answer: "
# the next passage begins. What is called a 5-shot accuracy (n_shots=5, the default) is one of a prompt that shows five
# times that nothing is to be answered. With its other benchmarks the answers stand there. Nothing is said of it.
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
from deepeval.benchmarks import DROP, HellaSwag
from deepeval.benchmarks.tasks import DROPTask, HellaSwagTask
from deepeval.models import DeepEvalBaseLLM

DROP_TASK, OTHER_TASK = list(DROPTask)[0], list(HellaSwagTask)[0]
WINNERS = "Rovers", "United", "Albion", "Athletic", "Wanderers", "Rangers"


def drop_row(section, winner):
    return {
        "section_id": section,
        "passage": f"City met {winner} on a wet afternoon and lost.",
        "question": "Who won?",
        "answers_spans": {"spans": [winner], "types": ["span"]},
    }


def other_row(activity, number):
    endings = ["opens it.", "eats it.", "sings.", "sleeps."]
    return {"activity_label": activity, "ctx": f"She takes box {number} and", "endings": endings, "label": "0"}


class Model(DeepEvalBaseLLM):
    """Keeps its prompt."""

    def load_model(self):
        return self

    def generate(self, prompt):
        self.prompt = prompt
        return ""

    async def a_generate(self, prompt):
        return self.generate(prompt)

    def get_model_name(self):
        return "model"


def examples(kind, task, train, test):
    """What stands behind each "Answer:" of the examples."""
    model = Model()
    splits = {"train": Dataset.from_list(train), "validation": Dataset.from_list(test)}
    with contextlib.redirect_stdout(io.StringIO()):
        kind(tasks=[task], n_shots=5, dataset=splits).evaluate(model)
    lines = [line for line in model.prompt.splitlines() if line.startswith("Answer:")]
    return [line.removeprefix("Answer:").strip() for line in lines[:5]]


drop_rows = [drop_row(f"section {number}", winner) for number, winner in enumerate(WINNERS)]
drop = examples(DROP, DROP_TASK, drop_rows, [drop_row(DROP_TASK.value, "Town")])
other_rows = [other_row(f"activity {number}", number) for number in range(6)]
other = examples(HellaSwag, OTHER_TASK, other_rows, [other_row(OTHER_TASK.value, 7)])
print(f"deepeval {metadata.version('deepeval')}, the answers of the five examples")
print(f"HellaSwag: {other}")
print(f"DROP, whose first five rows are answered by {', '.join(WINNERS[:5])}: {drop}")
if other != ["A"] * 5 or drop != [""] * 5:
    print("Changed.")
    sys.exit(1)
PYTHON
