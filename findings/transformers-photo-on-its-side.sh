#!/usr/bin/env bash
# The same photo, held upright by a phone that says so in the file (EXIF), reaches the model upright by its name and
# lying on its side as a picture that Pillow opened: load_image and the Image column of datasets turn it, image
# processors do not. A model trained on the one and asked with the other is asked about other pictures.
# Exits with 0 while that is so. Takes about 600 MB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 DATASETS=5.2.0 PILLOW=13.0.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "transformers==$TRANSFORMERS" "datasets==$DATASETS" "pillow==$PILLOW"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
from io import BytesIO
from pathlib import Path

import datasets
from PIL import ExifTags, Image
from transformers import Qwen2VLImageProcessorPil
from transformers.image_utils import load_image

exif = Image.Exif()
exif[ExifTags.Base.Orientation] = 6  # to be turned by a quarter, as phones write it
Image.new("RGB", (560, 280), "white").save("photo.jpg", exif=exif)


def opened():
    return Image.open(BytesIO(Path("photo.jpg").read_bytes()))


def column(value):
    return datasets.Dataset.from_dict({"image": [value]}, datasets.Features({"image": datasets.Image()}))[0]["image"]


def seen(picture):
    _, rows, columns = Qwen2VLImageProcessorPil()(images=[picture], return_tensors="np")["image_grid_thw"][0]
    return "upright" if rows > columns else "on its side"


versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("transformers", "datasets", "pillow"))
print(f"{versions}; what Qwen-VL's image processor makes of a photo held upright")
ways = {
    "load_image(name)": load_image("photo.jpg"),
    "datasets, by its name": column("photo.jpg"),
    "datasets, by its bytes": column({"bytes": Path("photo.jpg").read_bytes(), "path": None}),
    "Image.open": opened(),
    "datasets, from Image.open": column(opened()),
}
results = {way: seen(picture) for way, picture in ways.items()}
for way, result in results.items():
    print(f"{way}: {result}")
if list(results.values()) != ["upright"] * 3 + ["on its side"] * 2:
    print("Changed.")
    sys.exit(1)
PYTHON
