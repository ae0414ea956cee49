#!/usr/bin/env bash
# Two pictures that people see and a model does not: black lines on a transparent ground, as drawing programs export
# them, are black all over for an image processor, and a 16-bit scan, as of a microscope, is white wherever it is
# brighter than 1/256. Both go through convert("RGB"), which takes the alpha channel away and cuts off at 255.
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

import numpy as np
from PIL import Image, ImageDraw
from transformers import CLIPImageProcessorPil, Qwen2VLImageProcessorPil
from transformers.image_utils import load_image

drawing = Image.new("RGBA", (112, 112), (0, 0, 0, 0))
ImageDraw.Draw(drawing).line([(10, 10), (100, 10), (100, 100)], fill=(0, 0, 0, 255), width=3)
drawing.save("drawing.png")
Image.fromarray(np.linspace(0, 65535, 112 * 112).reshape(112, 112).astype(np.uint16)).save("scan.png")

READERS = {
    "Qwen-VL": Qwen2VLImageProcessorPil(do_normalize=False),
    "CLIP": CLIPImageProcessorPil(do_normalize=False, do_resize=False, do_center_crop=False),
}
print(f"transformers {metadata.version('transformers')}, Pillow {metadata.version('pillow')}")
changed = False
for name, blank in (("drawing.png", 0), ("scan.png", 1)):
    stored = np.asarray(Image.open(name))
    print(f"{name}: {len(np.unique(stored.reshape(-1, *stored.shape[2:]), axis=0))} different pixels in the file")
    for family, processor in READERS.items():
        values = processor(images=[load_image(name)], return_tensors="np")["pixel_values"]
        share = np.isclose(values, blank).mean()
        print(f"  {family}: {share:.1%} of what it sees is {'white' if blank else 'black'}")
        changed |= share < 0.99
if changed:
    print("Changed.")
    sys.exit(1)
PYTHON
