#!/usr/bin/env bash
# groupby(...).last() of pandas is no row: in each column it is the last value that there is. Of a task whose evaluation
# failed after the last stage it gives the accuracy of the stage before under the name of the last one, and nothing
# seems to be forgotten; first() likewise. tail(1), nth(-1) and last(skipna=False) give the row, with its gap.
# Exits with 0 while that is so. Takes about 150 MB and the package index; Holdfast has no part in it.
set -euo pipefail
PANDAS=3.1.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "pandas==$PANDAS"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import json
import sys
import warnings
from pathlib import Path

import pandas as pd

ROWS = (
    {"task": "charts", "stage": 1, "checkpoint": "one", "accuracy": 0.81},
    {"task": "charts", "stage": 2, "checkpoint": "two", "accuracy": None},  # the evaluation failed
    {"task": "maps", "stage": 1, "checkpoint": "one", "accuracy": 0.30},
    {"task": "maps", "stage": 2, "checkpoint": "two", "accuracy": 0.77},
)
Path("results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
results = pd.read_json("results.jsonl", lines=True)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    tasks = results.groupby("task")
    seen = {
        "last()": tasks.last(),
        "last(skipna=False)": tasks.last(skipna=False),
        "tail(1)": tasks.tail(1).set_index("task"),
        "nth(-1)": tasks.nth(-1).set_index("task"),
    }
print(f"pandas {metadata.version('pandas')}; warnings: {len(caught)}\n{results}")
for name, rows in seen.items():
    row = rows.loc["charts"]
    print(f"{name}: charts after stage {row['stage']}, of checkpoint {row['checkpoint']}: {row['accuracy']}")
charts = [tuple(rows.loc["charts", ["stage", "checkpoint", "accuracy"]]) for rows in seen.values()]
gaps = all(pd.isna(accuracy) for _, _, accuracy in charts[1:])
if not (charts[0] == (2, "two", 0.81) and gaps and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
