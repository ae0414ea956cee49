#!/usr/bin/env bash
# DatasetDict.class_encode_column (datasets 5.2.0) numbers the class names of every split by itself. Where the test
# lacks one of the classes, 0 is a bus in training and a car in the test, and a model that has learned every class is
# right on none of the test's pictures. Nothing is said. A cast of the column to one ClassLabel gives both splits the
# same numbers.
# Exits with 0 while that is so. Takes about 350 MB and the package index; Holdfast has no part in it.
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
import sys
import warnings

from datasets import ClassLabel, Dataset, DatasetDict, disable_progress_bars

disable_progress_bars()
NAMES = {"train": ["train", "bus", "car", "bus"], "test": ["car", "train", "train", "car"]}
plain = DatasetDict({split: Dataset.from_dict({"name": names, "label": names}) for split, names in NAMES.items()})


def numbers(rows):
    return dict(sorted(zip(rows["name"], rows["label"], strict=True)))


def right(splits):
    """Of the test's pictures, how many a model gets right that says the training's number for what it sees."""
    learned = numbers(splits["train"])
    return sum(learned[name] == label for name, label in zip(splits["test"]["name"], splits["test"]["label"]))


print(f"datasets {metadata.version('datasets')}; classes of the splits: {NAMES}")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    encoded = plain.class_encode_column("label")
cast = plain.cast_column("label", ClassLabel(names=["bus", "car", "train"]))
seen = []
for how, splits in (("class_encode_column", encoded), ("cast_column to one ClassLabel", cast)):
    seen.append((numbers(splits["train"]), numbers(splits["test"]), right(splits)))
    print(f"{how}: train {seen[-1][0]}, test {seen[-1][1]}; right: {seen[-1][2]} of 4")
print(f"Warnings: {len(caught)}")
every = {"bus": 0, "car": 1, "train": 2}
alike = {name: every[name] for name in ("car", "train")}
if not (seen == [(every, {"car": 0, "train": 1}, 0), (every, alike, 4)] and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
