#!/usr/bin/env bash
# Image processors divide what they get by 255, also a picture of floats from 0 to 1, as torchvision's ToTensor makes
# it: to the model it is black, one 255th of its contrast is left, and nothing is said. A picture of truth values, such
# as a mask, is black, too. With do_rescale=False the floats are seen as the 8-bit picture is.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 PILLOW=13.0.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "transformers==$TRANSFORMERS" "pillow==$PILLOW" "torch==$TORCH"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 "$python" - 2>said <<'PYTHON'
import importlib.metadata as metadata
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

PICTURE = np.random.default_rng(0).integers(0, 256, (384, 384, 3), dtype=np.uint8)
FLOATS = (PICTURE / 255).astype(np.float32)
KINDS = {
    "8 bits": (PICTURE, {}),
    "floats from 0 to 255": (PICTURE.astype(np.float32), {}),
    "floats from 0 to 1": (FLOATS, {}),
    "a tensor from 0 to 1": (torch.tensor(FLOATS).permute(2, 0, 1), {}),
    "truth values": (PICTURE > 127, {}),
    "floats from 0 to 1, do_rescale=False": (FLOATS, {"do_rescale": False}),
}
print(f"transformers {metadata.version('transformers')}; from darkest to brightest, as each processor passes it on")
changed = False
for family in ("Qwen2VL", "CLIP", "Siglip", "LlavaOnevision"):
    processor = getattr(transformers, f"{family}ImageProcessorPil")(do_normalize=False)
    for kind, (picture, settings) in KINDS.items():
        values = processor(images=[picture], return_tensors="np", **settings)["pixel_values"]
        print(f"{family}, {kind}: {values.min():.3f} to {values.max():.3f}")
        black = kind in ("floats from 0 to 1", "a tensor from 0 to 1", "truth values")
        changed |= (values.max() < 0.005) != black
print(f"Said meanwhile: {Path('said').read_text().strip() or 'nothing'}")
if changed or "rescale" in Path("said").read_text():
    print("Changed.")
    sys.exit(1)
PYTHON
