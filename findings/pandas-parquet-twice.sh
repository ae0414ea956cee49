#!/usr/bin/env bash
# DataFrame.to_parquet writes over what a path held before, but with partition_cols it adds to it: results that are
# saved again, after one more task or after a mended grader, lie there beside the old ones, and read_parquet gives
# both. A task right in 3 of 4 answers, graded anew to 4 of 4, has 8 answers and an accuracy of 0.88. Nothing is said,
# in the documentation neither; with existing_data_behavior="delete_matching", handed on to pyarrow, it is 1.
# Exits with 0 while that is so. Takes about 350 MB and the package index; Holdfast has no part in it.
set -euo pipefail
PANDAS=3.1.1 PYARROW=26.0.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "pandas==$PANDAS" "pyarrow==$PYARROW"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import pandas as pd

FIRST = pd.DataFrame({"task": ["charts"] * 4, "right": [1, 1, 1, 0]})
MENDED = FIRST.assign(right=1)
WAYS = {
    "a file": dict(path="results.parquet"),
    "partition_cols": dict(path="results", partition_cols=["task"]),
    "partition_cols, delete_matching": dict(
        path="others", partition_cols=["task"], existing_data_behavior="delete_matching"
    ),
}
print(f"pandas {metadata.version('pandas')}, pyarrow {metadata.version('pyarrow')}")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, way in WAYS.items():
        for rows in (FIRST, MENDED):
            rows.to_parquet(**way)
        right = pd.read_parquet(way["path"])["right"]
        seen[name] = (len(right), float(right.mean()))
        print(f"{name}, written twice: {len(right)} answers, accuracy {right.mean():.3f}")
print(f"warnings: {len(caught)}")
if list(seen.values()) != [(4, 1.0), (8, 0.875), (4, 1.0)] or caught:
    print("Changed.")
    sys.exit(1)
PYTHON
