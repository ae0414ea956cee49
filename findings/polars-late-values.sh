#!/usr/bin/env bash
# polars 2.1.0 takes the types of rows that are dicts from the first hundred, and makes later values fit them without a
# word: a judge's 7.5 after a hundred whole scores is 7, a half-right 0.5 after a hundred verdicts of True is False,
# and a field that first comes in row 101 is not there. from_dicts does it under strict=True, which is to raise an error
# for such a value. A list of the same scores, not in dicts, does raise one; so does read_ndjson, and loses the field.
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
import io
import json
import sys
import warnings

import polars as pl

scores = [{"score": number % 11} for number in range(100)] + [{"score": 7.5}, {"score": 0.9}]
verdicts = [{"right": True}] * 100 + [{"right": 0.5}]
stages = [{"first": 0.9}] * 100 + [{"first": 0.4, "second": 0.9}]
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    seen["scores"] = pl.DataFrame(scores)["score"].to_list()[-2:]
    seen["scores, strict"] = pl.from_dicts(scores, strict=True)["score"].to_list()[-2:]
    seen["verdicts"] = pl.DataFrame(verdicts)["right"].to_list()[-1:]
    seen["fields"] = pl.DataFrame(stages).columns
    seen["fields, ndjson"] = pl.read_ndjson(io.StringIO("\n".join(map(json.dumps, stages)))).columns
    seen["scores, all rows looked at"] = pl.DataFrame(scores, infer_schema_length=None)["score"].to_list()[-2:]
    try:
        seen["scores, not in dicts"] = pl.Series([row["score"] for row in scores]).to_list()[-2:]
    except TypeError as error:
        seen["scores, not in dicts"] = type(error).__name__
print(f"polars {metadata.version('polars')}; warnings: {len(caught)}")
print(f"the last rows of each: scores {scores[-2:]}, verdicts {verdicts[-1:]}, stages {stages[-1:]}")
for name, values in seen.items():
    print(f"{name}: {values}")
expected = {
    "scores": [7, 0],
    "scores, strict": [7, 0],
    "verdicts": [False],
    "fields": ["first"],
    "fields, ndjson": ["first"],
    "scores, all rows looked at": [7.5, 0.9],
    "scores, not in dicts": "TypeError",
}
if seen != expected or caught:
    print("Changed.")
    sys.exit(1)
PYTHON
