#!/usr/bin/env bash
# A picture is opened, a box is drawn on it, and it is put into a Dataset: the set holds the file's name, and shows the
# picture without the box. So do a map that opens files or draws on a set's pictures, from_list and from_generator: what
# was drawn, blanked or pasted in place is gone without a word, as long as the file is there. crop, resize and convert
# make a new picture, which is kept; so is a copy().
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

import datasets
from PIL import Image, ImageDraw

datasets.disable_progress_bars()
datasets.disable_caching()
FEATURES = datasets.Features({"image": datasets.Image()})
Image.new("RGB", (64, 64), "white").save("photo.png")


def marked(picture):
    """The same picture, with the region asked about in red."""
    ImageDraw.Draw(picture).rectangle([16, 16, 48, 48], fill="red")
    return picture


def opened():
    return marked(Image.open("photo.png"))


def rows():
    yield {"image": opened()}


names = datasets.Dataset.from_dict({"image": ["photo.png"]})
pictures = names.cast_column("image", datasets.Image())
ways = {
    "from_dict": datasets.Dataset.from_dict({"image": [opened()]}),
    "from_list": datasets.Dataset.from_list([{"image": opened()}]),
    "from_generator": datasets.Dataset.from_generator(rows, features=FEATURES),
    "map that opens files": names.map(lambda row: {"image": marked(Image.open(row["image"]))}, features=FEATURES),
    "map of pictures": pictures.map(lambda row: {"image": marked(row["image"])}),
    "map of copies": pictures.map(lambda row: {"image": marked(row["image"].copy())}),
    "from_dict of a picture resized": datasets.Dataset.from_dict({"image": [opened().resize((64, 64))]}),
}
print(f"datasets {metadata.version('datasets')}, Pillow {metadata.version('pillow')}")
print(f"The picture that is handed over: {opened().getpixel((32, 32))} in its middle")
seen = {}
for way, made in ways.items():
    pixel = made[0]["image"].convert("RGB").getpixel((32, 32))
    seen[way] = {(255, 0, 0): "red", (255, 255, 255): "white"}.get(pixel, "other")
    print(f"{way}: {seen[way]}, {pixel}")
if list(seen.values()) != ["white"] * 5 + ["red"] * 2:
    print("Changed.")
    sys.exit(1)
PYTHON
