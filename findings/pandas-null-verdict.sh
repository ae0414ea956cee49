#!/usr/bin/env bash
# Made a bool, a verdict of null is right in pandas, if it was read from a file: from JSON lines and from CSV it is nan,
# which is True. Of four questions, one right, one wrong and two without a verdict, the accuracy is 0.75; the same rows
# put into a DataFrame by Python keep None, which is False, and it is 0.25. Nothing is said. mean() without it is 0.5.
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
import io
import json
import sys
import warnings

import pandas as pd

ROWS = [{"question": number, "right": right} for number, right in enumerate((True, False, None, None))]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
read = {
    "read_json": lambda: pd.read_json(io.StringIO(LINES), lines=True),
    "read_csv": lambda: pd.read_csv(io.StringIO(pd.DataFrame(ROWS).to_csv(index=False))),
    "DataFrame": lambda: pd.DataFrame(ROWS),
}
print(f"pandas {metadata.version('pandas')}\n{LINES}", end="")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, rows in read.items():
        right = rows()["right"]
        verdicts = right.astype(bool)
        seen[name] = float(verdicts.mean())
        print(f"{name}, of type {right.dtype}: as bool {verdicts.tolist()}, accuracy {seen[name]}; mean() {right.mean()}")
print(f"warnings: {len(caught)}")
if not (seen == {"read_json": 0.75, "read_csv": 0.75, "DataFrame": 0.25} and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
