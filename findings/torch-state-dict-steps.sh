#!/usr/bin/env bash
# torch.distributed.checkpoint.state_dict.get_state_dict takes a step of a new optimiser, so that there is a state to
# load into, and that step stays: a training that is saved before its first step learns other weights than one that is
# not. AdamW's first step is about 0.74 times as long, for it counts as the second, after a gradient of zero.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" numpy

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import sys

import torch
from torch.distributed.checkpoint.state_dict import get_state_dict

STEPS = 5


def train(saved):
    """How far the first step went, the last loss, and how many steps the optimiser counts."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0)
    inputs = torch.randn(64, 4)
    targets = inputs.sum(1, keepdim=True)
    if saved:
        get_state_dict(model, optimizer)  # what a checkpoint before the first step is made of
    start, lengths = model.weight.detach().clone(), []
    for _ in range(STEPS):
        loss = (model(inputs) - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lengths.append((model.weight - start).abs().mean().item())
    return lengths[0], loss.item(), int(optimizer.state[model.weight]["step"])


print(f"torch {torch.__version__}; AdamW, learning rate 0.1, {STEPS} steps")
told = {saved: train(saved) for saved in (False, True)}
for saved, (length, loss, count) in told.items():
    name = "saved at first" if saved else "not saved"
    print(f"{name}: a weight's first step {length:.4f}, last loss {loss:.4f}, {count} steps counted")
(length, loss, count), (other_length, other_loss, other_count) = told.values()
if not (count == STEPS and other_count == STEPS + 1 and other_length < 0.8 * length and other_loss > loss):
    print("Changed.")
    sys.exit(1)
PYTHON
