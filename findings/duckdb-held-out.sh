#!/usr/bin/env bash
# What DuckDB's sql() gives looks like a table and is a question, asked again each time that it is read. A fifth of the
# rows marked at random as held out, and then one filter for the rows to train on and one for those to test on, are two
# draws: of the held-out rows four of five are trained on, and a sixth of all rows is in neither set. A sample drawn
# once and read twice is two samples. A seed changes nothing of it: the second reading goes on from it. No warning.
# With materialize() there is one draw.
# Exits with 0 while that is so. Takes about 250 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DUCKDB=2.0.1 PANDAS=3.1.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "duckdb==$DUCKDB" "pandas==$PANDAS"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import duckdb
import pandas as pd

ROWS = 10_000
database = duckdb.connect()
rows = pd.DataFrame({"question": range(ROWS)})


def split(once):
    """The numbers of rows held out, of those trained on all the same, and of those in neither set."""
    database.sql("select setseed(0.5)").fetchall()
    marked = database.sql("select question, random() < 0.2 as held_out from rows")
    if once:
        marked = marked.materialize()
    train = set(marked.filter("not held_out").df()["question"])
    test = set(marked.filter("held_out").df()["question"])
    return len(test), len(test & train), ROWS - len(test | train)


print(f"duckdb {metadata.version('duckdb')}")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    seen = {once: split(once) for once in (False, True)}
    sample = database.sql("select question from rows using sample 100 rows")
    both = len(set(sample.df()["question"]) & set(sample.df()["question"]))
for once, (test, trained, neither) in seen.items():
    name = "with materialize()" if once else "as it is"
    print(f"{name}: held out {test} of {ROWS}, of these trained on {trained}; in neither set {neither}")
print(f"a sample of 100 rows, read twice: {both} rows are in both; warnings: {len(caught)}")
test, trained, neither = seen[False]
if not (trained / test > 0.7 and neither > 1_000 and seen[True][1:] == (0, 0) and both < 20 and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
