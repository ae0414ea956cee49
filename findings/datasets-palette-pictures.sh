#!/usr/bin/env bash
# A picture of up to 256 colours, as charts and screenshots are often saved, is a PNG with a palette. In a set with the
# format "numpy" (and with "torch" alike) it is an array of the numbers of its colours in that palette, two-dimensional
# and all but black: a chart with a red bar and one with a blue bar are the same array of 0 and 1. Without a format both
# are right, and so they are after cast_column with Image(mode="RGB"). Of palettes the documentation of the formats says
# nothing, and of mode that without one it is the picture's own.
# Exits with 0 while that is so. Takes about 500 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DATASETS=5.2.0 PILLOW=12.3.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "datasets==$DATASETS" "pillow==$PILLOW"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import numpy as np
from datasets import Dataset, Image
from PIL import Image as Pillow

WHITE, BLUE, RED = (255, 255, 255), (30, 60, 200), (200, 30, 30)


def chart(path, colour):
    """A bar on white, saved with as many colours as it has."""
    picture = Pillow.new("RGB", (60, 40), WHITE)
    picture.paste(colour, (10, 10, 20, 40))
    picture.quantize(256).save(path)


print(f"datasets {metadata.version('datasets')}, a chart with a red bar and one with a blue bar")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    chart("red.png", RED)
    chart("blue.png", BLUE)
    rows = Dataset.from_dict({"image": ["red.png", "blue.png"]}).cast_column("image", Image())
    plain = [np.asarray(row["image"].convert("RGB")) for row in rows]
    formatted = [row["image"] for row in rows.with_format("numpy")]
    cast = [row["image"] for row in rows.cast_column("image", Image(mode="RGB")).with_format("numpy")]
seen = {}
for name, arrays in (("without a format", plain), ("numpy", formatted), ("numpy, mode=RGB", cast)):
    seen[name] = [(array.shape, array[5, 5].tolist(), array[25, 15].tolist()) for array in arrays]
    print(f"{name}: shape, ground and bar of each {seen[name]}")
alike = np.array_equal(*formatted)
print(f"with the format both charts are the same array: {alike}; warnings: {len(caught)}")
right = [((40, 60, 3), list(WHITE), list(colour)) for colour in (RED, BLUE)]
flat = all(shape == (40, 60) and {ground, bar} == {0, 1} for shape, ground, bar in seen["numpy"])
if not (seen["without a format"] == seen["numpy, mode=RGB"] == right and flat and alike and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
