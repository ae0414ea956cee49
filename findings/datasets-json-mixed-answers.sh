#!/usr/bin/env bash
# One number among the answers of a JSON file, and datasets reads the others as JSON, too: the texts "007", "1.50",
# "true" and "null" of the other rows become 7, 1.5, True and nothing, without a word. to_csv then writes words with
# quotation marks of their own. Without the number all stay as they are.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DATASETS=5.2.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$python" - <<'PYTHON'
import csv
import importlib.metadata as metadata
import json
import sys
from pathlib import Path

import datasets

datasets.disable_progress_bars()
TEXTS = ["cat", "007", "1.50", "true", "null"]


def read(answers):
    """The answers of a JSON Lines file, as its rows give them and as to_csv writes them."""
    name = f"{len(answers)}.jsonl"
    Path(name).write_text("".join(json.dumps({"question": "?", "answer": answer}) + "\n" for answer in answers))
    rows = datasets.load_dataset("json", data_files=name, split="train")
    rows.to_csv("rows.csv")
    with open("rows.csv", newline="") as file:
        return [row["answer"] for row in rows], [row["answer"] for row in csv.DictReader(file)]


print(f"datasets {metadata.version('datasets')}; the answers: {TEXTS}")
alone, _ = read(TEXTS)
beside, written = read([*TEXTS, 3])
print(f"By themselves: {alone}")
print(f"With a 3 in another row: {beside}")
print(f"The same after to_csv: {written}")
expected = [TEXTS, ["cat", 7, 1.5, True, None, 3], ['"cat"', "007", "1.50", "true", "null", "3"]]
if [alone, beside, written] != expected:
    print("Changed.")
    sys.exit(1)
PYTHON
