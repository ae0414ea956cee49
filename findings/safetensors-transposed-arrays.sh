#!/usr/bin/env bash
# safetensors.numpy writes a transposed array, or some of an array's columns, with other numbers in their places: what
# comes back has the right shape and the numbers in the order in which they lay in memory, and nothing is said. So every
# weight that is transposed on its way from JAX or TensorFlow to torch is scrambled, if it is saved as it is.
# safetensors.torch refuses such tensors; numpy's own files keep them, and so does np.ascontiguousarray before.
# Exits with 0 while that is so. Takes about 100 MB and the package index; Holdfast has no part in it.
set -euo pipefail
SAFETENSORS=0.8.0 NUMPY=2.4.6

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "safetensors==$SAFETENSORS" "numpy==$NUMPY"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import numpy as np
from safetensors.numpy import load_file, save_file

KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)
ARRAYS = {
    "as it is": KERNEL,
    "transposed": KERNEL.T,
    "two of its columns": KERNEL[:, 1:],
    "transposed, np.ascontiguousarray": np.ascontiguousarray(KERNEL.T),
}
print(f"safetensors {metadata.version('safetensors')}, numpy {np.__version__}")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, array in ARRAYS.items():
        save_file({"weight": array}, "model.safetensors")
        back = load_file("model.safetensors")["weight"]
        seen[name] = np.array_equal(back, array)
        print(f"{name}: {array.tolist()} is read as {back.tolist()}{'' if seen[name] else ', not the same'}")
np.save("weight.npy", KERNEL.T)
plain = np.array_equal(np.load("weight.npy"), KERNEL.T)
print(f"transposed, by np.save: {'the same' if plain else 'not the same'}; warnings: {len(caught)}")
if not (plain and list(seen.values()) == [True, False, False, True] and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
