#!/usr/bin/env bash
# A number that is taken of a weight of PyTorch's FSDP2 is of this rank's part: weight.norm().item() differs between
# ranks, and bool(gradient.isfinite().all()) is true on one and false on the other. "Skip the step unless all is
# finite", which is right on one device, then steps one half of a matrix and leaves the other. (The norm that
# clip_grad_norm_ gives is of the whole.)
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" numpy

cd "$folder" # nothing of a checkout is imported
cat >script.py <<'PYTHON'
import math
import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = torch.nn.Linear(4, 8, bias=False)
fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
start = model.weight.full_tensor().detach().clone()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

outputs = model(torch.randn(16, 4))
huge = torch.zeros(8).index_fill(0, torch.tensor([7]), float("inf"))  # one output overflows, on both ranks
(outputs.square().mean() + (outputs * huge).sum()).backward()
finite = all(bool(weight.grad.isfinite().all()) for weight in model.parameters())
norm, clipped = model.weight.norm().item(), torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9).item()
if finite:
    optimizer.step()
moved = (model.weight.full_tensor() != start).any(1)

told = [None, None]
dist.all_gather_object(told, (finite, round(norm, 4), moved.tolist(), math.isfinite(clipped)))
if rank == 0:
    print(f"torch {torch.__version__}; a matrix of 8 rows on two ranks, of norm {start.norm().item():.4f}")
    for number, (finite, norm, moved, clips) in enumerate(told):
        print(f"rank {number}: norm {norm}, gradient finite: {finite}, norm of clip_grad_norm_ finite: {clips}")
    print(f"rows that were stepped: {[row for row, stepped in enumerate(told[0][2]) if stepped]}")
    (finite, norm, moved, clips), (other_finite, other_norm, _, other_clips) = told
    halves = moved == [True] * 4 + [False] * 4
    if not (finite and not other_finite and norm != other_norm and halves) or clips or other_clips:
        print("Changed.")
        sys.exit(1)
dist.destroy_process_group()
PYTHON
OMP_NUM_THREADS=1 "$python" -W ignore -m torch.distributed.run --standalone --nproc-per-node 2 script.py
