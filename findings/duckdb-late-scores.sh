#!/usr/bin/env bash
# Scores of CSV or JSON that are 0 or 1 in the first 20,480 rows and 0.5 later (as with rubrics of a second task, or
# rewards of a training that gets partial marks) are read by DuckDB as whole numbers, and the later ones are rounded:
# 0.5 becomes 1 from CSV and 0 from JSON, so that a mean of 0.5 is 0.67 or 0.33, with no word. A value that does not
# fit the type found (a text) is an error there, by the documentation, which says that rows are sampled for types and
# nothing of numbers cut. With sample_size=-1 all rows are looked at, and the means are right.
# Exits with 0 while that is so. Takes about 100 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DUCKDB=2.0.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "duckdb==$DUCKDB"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import json
import sys

import duckdb

WHOLE, LATE = 20_480, 10_240


def write(name, scores):
    with open(f"{name}.csv", "w") as table, open(f"{name}.jsonl", "w") as lines:
        table.write("row,score\n")
        for row, score in enumerate(scores):
            table.write(f"{row},{score}\n")
            lines.write(json.dumps({"row": row, "score": score}) + "\n")


def read(file, **settings):
    """The mean of the scores, and their type."""
    reader = duckdb.read_csv if file.endswith(".csv") else duckdb.read_json
    scores = reader(file, **settings)
    return round(scores.aggregate("avg(score)").fetchall()[0][0], 3), str(scores.types[1])


early = [row % 2 for row in range(WHOLE)]
print(f"duckdb {metadata.version('duckdb')}; {WHOLE} scores of 0 or 1, then {LATE} of")
seen = {}
for late in (0.4, 0.5, 0.9):
    write("scores", early + [late] * LATE)
    for kind in ("csv", "jsonl"):
        seen[late, kind] = read(f"scores.{kind}")
        whole = read(f"scores.{kind}", sample_size=-1)
        print(f"{late} ({kind}): mean {seen[late, kind]}, with sample_size=-1 {whole}")
        if whole != (round((WHOLE / 2 + late * LATE) / (WHOLE + LATE), 3), "DOUBLE"):
            sys.exit("Changed: the mean of all rows.")
write("scores", early + ["half"] * LATE)
try:
    sys.exit(f"Changed: texts are read as {read('scores.csv')}.")
except duckdb.Error as error:
    print(f"half (csv): {type(error).__name__}")
if seen != {
    (late, kind): (0.333 if late == 0.4 or (late, kind) == (0.5, "jsonl") else 0.667, "BIGINT")
    for late, kind in seen
}:
    print("Changed.")
    sys.exit(1)
PYTHON
