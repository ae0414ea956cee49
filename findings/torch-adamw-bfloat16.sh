#!/usr/bin/env bash
# The second moment of torch's AdamW never falls where weights are bfloat16 (and so its state is): 0.999 of a number
# rounds to that number. What a task with large gradients leaves there holds for every later one: after 5,000 steps with
# gradients a tenth as large it is what it was, and a step a third of what it is in float32, which has long recovered.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import sys

import torch

RATE, LARGE, SMALL = 1e-3, 1.0, 0.1
STAGES = (100, LARGE), (5000, SMALL)


def stages(dtype):
    """The root of the second moment after each stage, and the size of the step that a steady gradient then makes."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(1000, dtype=dtype))
    optimizer = torch.optim.AdamW([weight], lr=RATE, weight_decay=0.0)
    roots = []
    for steps, size in STAGES:
        for _ in range(steps):
            weight.grad = (torch.randn(1000, generator=draw) * size).to(dtype)
            optimizer.step()
        roots.append(optimizer.state[weight]["exp_avg_sq"].float().sqrt().mean().item())
    for _ in range(50):  # until the first moment is the gradient
        weight.data.zero_()  # so that no step is lost in adding it to a large weight
        weight.grad = torch.full((1000,), SMALL, dtype=dtype)
        optimizer.step()
    return (*roots, weight.abs().float().mean().item() / RATE)


print(f"torch {torch.__version__}, AdamW: {STAGES[0][0]} steps at gradients of {LARGE}, {STAGES[1][0]} at {SMALL}")
seen = {}
for dtype in (torch.float32, torch.bfloat16):
    seen[dtype] = stages(dtype)
    first, second, step = seen[dtype]
    print(f"{dtype}: root of the second moment {first:.3f}, then {second:.3f}; a step is {step:.2f} of the rate")
exact, rounded = seen.values()
if not (exact[1] < 0.4 * exact[0] and rounded[1] >= rounded[0] and exact[2] > 2 * rounded[2]):
    print("Changed.")
    sys.exit(1)
PYTHON
