#!/usr/bin/env bash
# The longest_edge and shortest_edge of a Qwen-VL image processor are no edges, but numbers of pixels of the whole
# picture: size={"shortest_edge": 224, "longest_edge": 448}, which gives other processors a picture of up to 448
# pixels a side, shrinks every one to 28 by 28, a single token, without a word.
# Exits with 0 while that is so. Takes about 300 MB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 PILLOW=13.0.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "transformers==$TRANSFORMERS" "pillow==$PILLOW"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys

from PIL import Image
from transformers import Idefics2ImageProcessorPil, Qwen2VLImageProcessorPil

PICTURE = Image.radial_gradient("L").resize((640, 480)).convert("RGB")
SIZE = {"shortest_edge": 224, "longest_edge": 448}


def side_by_idefics(**settings):
    rows = Idefics2ImageProcessorPil(do_image_splitting=False, **settings)(images=PICTURE, return_tensors="np")
    return rows["pixel_values"].shape[:-3:-1]


def side_by_qwen(**settings):
    _, rows, columns = Qwen2VLImageProcessorPil(**settings)(images=PICTURE, return_tensors="np")["image_grid_thw"][0]
    return int(columns) * 14, int(rows) * 14  # a patch is 14 pixels wide


print(f"transformers {metadata.version('transformers')}; a picture of {PICTURE.width} by {PICTURE.height}, {SIZE}")
sizes = {"Idefics2": side_by_idefics(size=SIZE), "Qwen-VL": side_by_qwen(size=SIZE)}
for family, (width, height) in sizes.items():
    print(f"{family} sees {width} by {height}.")
area = side_by_qwen(size={"shortest_edge": 224 * 224, "longest_edge": 448 * 448})
print(f"Qwen-VL with the squares of both for its edges sees {area[0]} by {area[1]}.")
if max(sizes["Idefics2"]) != 448 or sizes["Qwen-VL"] != (28, 28) or max(area) < 448:
    print("Changed.")
    sys.exit(1)
PYTHON
