#!/usr/bin/env bash
# Of three runs with the accuracies 0.5, NaN (it diverged) and 0.9 max() of polars takes 0.9, and what looks for the run
# that has it takes the one with NaN: sort and top_k put it first, rank gives it 1, and accuracy > 0.6 keeps it. One
# query, in SQL as well, for the best accuracy and the run it belongs to gives 0.9 and the diverged run. That max leaves
# NaN out stands with nan_max, and that NaN counts as larger than every number in the user guide; with sort, top_k and
# rank stands neither.
# Exits with 0 while that is so. Takes about 200 MB and the package index; Holdfast has no part in it.
set -euo pipefail
POLARS=2.1.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "polars==$POLARS"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import polars as pl

runs = pl.DataFrame({"run": ["first", "diverged", "last"], "accuracy": [0.5, float("nan"), 0.9]})
accuracy = pl.col("accuracy")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    seen = {
        "max": runs["accuracy"].max(),
        "best accuracy and its run": runs.select(accuracy.max(), pl.col("run").sort_by("accuracy").last()).row(0),
        "sort": runs.sort("accuracy", descending=True)["run"][0],
        "top_k": runs.top_k(1, by="accuracy")["run"][0],
        "rank 1": runs.filter(accuracy.rank(descending=True) == 1)["run"][0],
        "accuracy > 0.6": runs.filter(accuracy > 0.6)["run"].to_list(),
        "arg_max": runs["run"][runs["accuracy"].arg_max()],
        "SQL": runs.sql("SELECT MAX(accuracy), (SELECT run FROM self ORDER BY accuracy DESC LIMIT 1) FROM self").row(0),
    }
print(f"polars {metadata.version('polars')}, {dict(runs.iter_rows())}, warnings: {len(caught)}")
for name, value in seen.items():
    print(f"{name}: {value}")
told = {
    "max": 0.9,
    "best accuracy and its run": (0.9, "diverged"),
    "sort": "diverged",
    "top_k": "diverged",
    "rank 1": "diverged",
    "accuracy > 0.6": ["diverged", "last"],
    "arg_max": "last",
    "SQL": (0.9, "diverged"),
}
if seen != told or caught:
    print("Changed.")
    sys.exit(1)
PYTHON
