#!/usr/bin/env bash
# A folder of pictures with a folder for each class, loaded by load_dataset("imagefolder"), loses all classes but one if
# one is called train, as a class of vehicles is in COCO and CIFAR-100: "train" is taken for the split. The pictures of
# cars and buses are not there, nor is a column of labels, and nothing is said. val, test and dev do the same.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DATASETS=5.2.0 PILLOW=13.0.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "datasets==$DATASETS" "pillow==$PILLOW"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings
from pathlib import Path

import datasets
from PIL import Image

datasets.disable_progress_bars()


def loaded(root, *classes):
    """For each split: how many pictures, and the classes."""
    for name in classes:
        (Path(root) / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (32, 32), (number, 0, 0)).save(Path(root) / name / f"{number}.png")
    splits = datasets.load_dataset("imagefolder", data_dir=root)
    return {
        split: (len(rows), rows.features["label"].names if "label" in rows.features else None)
        for split, rows in splits.items()
    }


print(f"datasets {metadata.version('datasets')}, ten pictures in each of three folders")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    seen = {
        name: loaded(f"vehicles-{number}", "bus", "car", name)
        for number, name in enumerate(("tram", "train", "trains", "express train"))
    }
for name, splits in seen.items():
    print(f"bus, car, {name}: {splits}")
print(f"Warnings: {len(caught)}")
if not (
    seen["tram"] == {"train": (30, ["bus", "car", "tram"])}
    and seen["train"] == {"train": (10, None)}
    and seen["trains"] == {"train": (30, ["bus", "car", "trains"])}
    and not caught
):
    print("Changed.")
    sys.exit(1)
PYTHON
