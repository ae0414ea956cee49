#!/usr/bin/env bash
# deepeval's MMLU takes its few-shot examples from the development rows of the subject that comes first, and keeps them:
# under "multiple choice questions (with answers) about virology" stand five of abstract algebra, if that was asked
# before. One and the same question of one subject so has another prompt alone than after another subject, and the
# accuracies of 57 subjects (the default) depend on which stands first. lm-eval and the benchmark's authors take each
# subject's own five. Nothing is said of it.
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

import datasets
from deepeval.benchmarks import MMLU
from deepeval.benchmarks.tasks import MMLUTask
from deepeval.models import DeepEvalBaseLLM

SUBJECTS = MMLUTask.ABSTRACT_ALGEBRA, MMLUTask.ASTRONOMY, MMLUTask.VIROLOGY


def rows(subject, split, count):
    """Rows in the data set's form, whose questions say where they are from."""
    questions = [f"Question {number} of the {split} rows of {subject}?" for number in range(count)]
    choices, answers = [["one", "two", "three", "four"]] * count, [number % 4 for number in range(count)]
    return datasets.Dataset.from_dict({"question": questions, "choices": choices, "answer": answers})


def load_dataset(path, subject):
    """Gives each subject its own rows, as the hub does; nothing is downloaded."""
    return datasets.DatasetDict(dev=rows(subject, "dev", 5), test=rows(subject, "test", 4))


class Model(DeepEvalBaseLLM):
    """Keeps its prompts."""

    def __init__(self):
        self.prompts = []

    def load_model(self):
        return self

    def generate(self, prompt):
        self.prompts.append(prompt)
        return "A"

    async def a_generate(self, prompt):
        return self.generate(prompt)

    def get_model_name(self):
        return "model"


def examples(*tasks):
    """Of each subject that is asked: of which subjects the examples in its prompts are."""
    model = Model()
    with contextlib.redirect_stdout(io.StringIO()):
        MMLU(tasks=list(tasks), n_shots=5).evaluate(model)
    found = {}
    for prompt in model.prompts:
        lines = [line for line in prompt.splitlines() if line.startswith("Question ")]
        *shots, asked = [line.split(" rows of ")[1].rstrip("?") for line in lines]
        assert len(shots) == 5
        found.setdefault(asked, set()).update(shots)
    return found


datasets.load_dataset = load_dataset
print(f"deepeval {metadata.version('deepeval')}, MMLU; the subject asked, and that of its five examples")
alone = [examples(subject) for subject in SUBJECTS]
together, turned = examples(*SUBJECTS), examples(*reversed(SUBJECTS))
for title, found in (("together", together), ("in the other order", turned), *(("alone", one) for one in alone)):
    print(f"{title}: " + "; ".join(f"{asked} with {', '.join(shots)}" for asked, shots in found.items()))
own = all(found == {subject.value: {subject.value}} for subject, found in zip(SUBJECTS, alone))
first = [set(map(frozenset, found.values())) for found in (together, turned)]
if not (own and first == [{frozenset([subject.value])} for subject in (SUBJECTS[0], SUBJECTS[-1])]):
    print("Changed.")
    sys.exit(1)
PYTHON
