#!/usr/bin/env bash
# Dataset.from_list takes its columns from the first row alone, as one sentence of its documentation says: with a row of
# text first, the pictures of all other rows are dropped, and nothing is said when it is done. With features that name
# the column it is an error, about a file that is not there; load_dataset of the same JSON Lines has all columns.
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
import importlib.metadata as metadata
import json
import sys
import warnings
from pathlib import Path

import datasets

datasets.disable_progress_bars()
ROWS = [{"question": "How much is 7 and 5?", "answer": "12"}]
ROWS += [{"question": "What is it?", "answer": "a mill", "picture": f"{number}.png"} for number in range(99)]
TEXT = datasets.Value("string")
FEATURES = datasets.Features({"question": TEXT, "answer": TEXT, "picture": TEXT})


def pictures(rows):
    return sum(row.get("picture") is not None for row in rows)


print(f"datasets {metadata.version('datasets')}; {len(ROWS)} rows, {pictures(ROWS)} with a picture")
Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    text_first = datasets.Dataset.from_list(ROWS)
    turned = datasets.Dataset.from_list(ROWS[::-1])
try:
    named = str(pictures(datasets.Dataset.from_list(ROWS, features=FEATURES)))
except ValueError as error:
    named = f"ValueError: {error}"
file = datasets.load_dataset("json", data_files="rows.jsonl", split="train")
print(f"from_list: columns {text_first.column_names}, {pictures(text_first)} pictures, {len(caught)} warnings")
print(f"from_list, the last row first: columns {turned.column_names}, {pictures(turned)} pictures")
print(f"from_list with features: {named}")
print(f"load_dataset of the same rows: columns {file.column_names}, {pictures(file)} pictures")
seen = pictures(text_first), pictures(turned), pictures(file), len(caught)
if not (seen == (0, 99, 99, 0) and named != "99"):
    print("Changed.")
    sys.exit(1)
PYTHON
