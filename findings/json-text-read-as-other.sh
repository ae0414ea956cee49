#!/usr/bin/env bash
# JSON says which values are text, and readers of JSON Lines guess nevertheless: pandas' read_json makes numbers of a
# column of texts that look like them ("007", "1.50" and ids of 20 digits, the last with other digits), and datasets
# makes times of one whose texts look like dates. One other text in the column, and all stay as they are.
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
import importlib.metadata as metadata
import json
import sys
from pathlib import Path

import datasets
import pandas

datasets.disable_progress_bars()
COLUMNS = {
    "codes": ["007", "042"],
    "prices": ["1.50", "2.00"],
    "ids": ["12345678901234567891", "12345678901234567892"],
    "dates": ["2024-05-01", "2023-11-30"],
    "dates and a word": ["2024-05-01", "unknown"],
    "codes and a word": ["007", "unknown"],
}


def by_pandas(file):
    return [str(value) for value in pandas.read_json(file, lines=True)["answer"]]


def by_datasets(file):
    return [str(row["answer"]) for row in datasets.load_dataset("json", data_files=str(file), split="train")]


print(f"pandas {metadata.version('pandas')}, datasets {metadata.version('datasets')}")
changed = {"pandas": [], "datasets": []}
for name, answers in COLUMNS.items():
    file = Path(f"{name.replace(' ', '-')}.jsonl")
    file.write_text("".join(json.dumps({"answer": answer}) + "\n" for answer in answers))
    for reader, read in (("pandas", by_pandas), ("datasets", by_datasets)):
        got = read(file)
        print(f"{name}, {reader}: {answers} -> {got}")
        if got != answers:
            changed[reader].append(name)
sys.exit(changed != {"pandas": ["codes", "prices", "ids"], "datasets": ["dates"]})
PYTHON
