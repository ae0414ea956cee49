#!/usr/bin/env bash
# Dataset.map with a function that only looks at a JPEG picture, to note its width, stores every picture anew: as a
# JPEG of Pillow's default quality of 75, with the colours at half the resolution. Filtering by the same look, and
# columns named in input_columns, leave the files as they were.
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
from io import BytesIO

import datasets
import numpy as np
from PIL import Image, ImageDraw

datasets.disable_progress_bars()


def scan() -> bytes:
    """Blue print on a shaded page, as a JPEG of high quality."""
    page = Image.radial_gradient("L").resize((128, 128)).convert("RGB")
    for line in range(0, 128, 12):
        ImageDraw.Draw(page).text((3, line), "small print 0123456789", fill=(0, 0, 160))
    file = BytesIO()
    page.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


original = scan()
pixels = np.asarray(Image.open(BytesIO(original))).astype(int)
features = datasets.Features({"image": datasets.Image()})
datasets.Dataset.from_dict({"image": [{"bytes": original, "path": None}]}, features).to_parquet("scans.parquet")
rows = datasets.load_dataset("parquet", data_files="scans.parquet", split="train")
print(f"datasets {metadata.version('datasets')}, pillow {metadata.version('pillow')}")


def difference(name, rows):
    stored = rows.with_format("arrow")[0]["image"].to_pylist()[0]["bytes"]
    away = np.abs(np.asarray(rows[0]["image"]).astype(int) - pixels)
    print(f"{name}: {len(stored):,} bytes, pixels off by {away.mean():.1f} on average, {away.max()} at most")
    return away.max()


same = [
    difference("as loaded", rows),
    difference("filter by the width", rows.filter(lambda row: row["image"].width > 0)),
    difference(
        "map with input_columns",
        rows.map(lambda image: {"width": image.width}, input_columns=["image"]),
    ),
]
other = [
    difference("map that notes the width", rows.map(lambda row: {"width": row["image"].width})),
    difference(
        "the same in batches",
        rows.map(lambda batch: {"width": [image.width for image in batch["image"]]}, batched=True),
    ),
]
if any(same) or min(other) < 32:
    print("Changed.")
    sys.exit(1)
PYTHON
