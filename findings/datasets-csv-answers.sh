#!/usr/bin/env bash
# load_dataset("csv") of a question-answer file: the answers `None`, `NA`, `null` and `nan` come back as no value
# at all, and 007, +5 and 1.50 in a column of numbers as 7.0, 5.0 and 1.5. Both go without a word. Nothing is
# lost with features that say text and keep_default_na=False; features alone do not keep `None`.
# Exits with 0 while that is so. Takes the package index; Holdfast has no part in it.
set -euo pipefail
DATASETS=5.2.0 PANDAS=3.1.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "datasets==$DATASETS" "pandas==$PANDAS"

cd "$folder" # nothing of a checkout is imported
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
"$python" - <<'PYTHON'
import csv
import importlib.metadata as metadata
import sys

import datasets

datasets.disable_progress_bars()
WORDS = ["None", "NA", "null", "nan", "a dog"]  # to "What does he hold?", "Which country code is it?" ...
NUMBERS = ["007", "+5", "1.50"]


def read(answers, **arguments):
    with open("rows.csv", "w", newline="") as file:
        csv.writer(file).writerows([["question", "answer"], *(["?", answer] for answer in answers)])
    return list(datasets.load_dataset("csv", data_files="rows.csv", streaming=True, **arguments)["train"])


def answers(rows):
    return [row["answer"] for row in rows]


text = datasets.Features({name: datasets.Value("string") for name in ("question", "answer")})
print(f"datasets {metadata.version('datasets')}, pandas {metadata.version('pandas')}")
seen = {
    "words": answers(read(WORDS)),
    "words as text": answers(read(WORDS, features=text)),
    "numbers": answers(read(NUMBERS)),
    "both kept": answers(read(WORDS + NUMBERS, features=text, keep_default_na=False)),
}
for name, values in seen.items():
    print(f"{name}: {values}")
lost = [None] * 4 + ["a dog"]
expected = {"words": lost, "words as text": lost, "numbers": [7.0, 5.0, 1.5], "both kept": WORDS + NUMBERS}
sys.exit(seen != expected)
PYTHON
