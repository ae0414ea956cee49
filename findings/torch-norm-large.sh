#!/usr/bin/env bash
# On a CPU torch adds the squares of a float32 tensor up one after another, in a few lanes: the more numbers, the more of
# the small ones are lost. `norm` of a vector of 2^30 ones is 0.35 of what it is (with eight lanes; 0.5 with sixteen). So
# clip_grad_norm_ takes the gradient of an embedding as large as Qwen2.5-7B's (152,064 x 3,584 normally distributed
# numbers) for a tenth smaller than it is, clips to a bound of 1 what then has a length of 1.11, and logs the wrong norm;
# ways between checkpoints measured so are too short. More threads change nothing. sum() of the squares, which adds up in
# pairs, is right to seven digits. torch 2.14.1 does the same.
# Exits with 0 while that is so. Takes about 8 GB of memory and the package index; Holdfast has no part in it.
set -euo pipefail
TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" numpy

cd "$folder" # nothing of a checkout is imported
CUDA_VISIBLE_DEVICES="" "$python" -W ignore - <<'PYTHON'
import math
import sys

import torch

print(f"torch {torch.__version__} on a CPU, float32; each over its exact value:")
ones = torch.ones(2**30)
of_ones = ones.norm().item() / 2**15
print(f"  norm of {len(ones):,} ones: {of_ones:.3f}")
del ones

torch.manual_seed(0)
embedding = torch.nn.Parameter(torch.empty(152_064, 3_584))
embedding.grad = torch.randn(embedding.shape)


def length(tensor):
    """The exact one: rows by float64."""
    return math.sqrt(sum(rows.double().square().sum().item() for rows in tensor.split(1024)))


exact = length(embedding.grad)
by_sum = embedding.grad.square().sum().sqrt().item() / exact
clipped_from = torch.nn.utils.clip_grad_norm_([embedding], 1.0).item() / exact
clipped_to = length(embedding.grad)
print(f"  an embedding's gradient: the norm that clip_grad_norm_ gives {clipped_from:.3f}, the root of the sum of its "
      f"squares {by_sum:.7f}")
print(f"clipped to 1, it has a length of {clipped_to:.3f}")
if not (of_ones < 0.6 and clipped_from < 0.98 and clipped_to > 1.03 and abs(by_sum - 1) < 1e-5):
    print("Changed.")
    sys.exit(1)
PYTHON
