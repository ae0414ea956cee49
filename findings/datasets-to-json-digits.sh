#!/usr/bin/env bash
# Dataset.to_json writes ten decimals and no more: a p-value of 3e-12 and a weight of 2e-11 come back as 0.0, and other
# numbers in other last digits, so that records which were equal before are not after. It is pandas' to_json below it,
# which does so, too, and keeps 15 decimals at most (double_precision=15). CSV, parquet and Python keep all digits.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DATASETS=5.2.0 PANDAS=3.1.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "datasets==$DATASETS" "pandas==$PANDAS"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$python" - <<'PYTHON'
import csv
import importlib.metadata as metadata
import json
import math
import sys
import warnings
from pathlib import Path

import datasets
import pandas

datasets.disable_progress_bars()
VALUES = [3e-12, 2e-11, math.log(0.7), 1e-5]


def lines(name):
    return [json.loads(line)["value"] for line in Path(name).read_text().splitlines()]


rows = datasets.Dataset.from_dict({"value": VALUES})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    rows.to_json("rows.jsonl")
rows.to_csv("rows.csv")
rows.to_parquet("rows.parquet")
frame = pandas.DataFrame({"value": VALUES})
frame.to_json("frame.jsonl", orient="records", lines=True)
frame.to_json("most.jsonl", orient="records", lines=True, double_precision=15)
Path("python.jsonl").write_text("".join(json.dumps({"value": value}) + "\n" for value in VALUES))
with open("rows.csv", newline="") as file:
    table = [float(row["value"]) for row in csv.DictReader(file)]
seen = {
    "Dataset.to_json": lines("rows.jsonl"),
    "DataFrame.to_json": lines("frame.jsonl"),
    "DataFrame.to_json, 15 decimals": lines("most.jsonl"),
    "Dataset.to_csv": table,
    "Dataset.to_parquet": list(pandas.read_parquet("rows.parquet")["value"]),
    "json of Python": lines("python.jsonl"),
}
print(f"datasets {metadata.version('datasets')}, pandas {metadata.version('pandas')}; {VALUES}")
for way, values in seen.items():
    print(f"{way}: {values}{'' if values == VALUES else ', not the same'}")
lost = [[0.0, 0.0, -0.3566749439, 1e-5]] * 2
if not (list(seen.values())[:2] == lost and list(seen.values())[3:] == [VALUES] * 3 and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
