#!/usr/bin/env bash
# torch's Adafactor counts its rate in parts of a weight's own size, at least a thousandth. LoRA's B starts at zero, so
# that at the rate that AdamW has learned with, each step of B is a thousandth of AdamW's: of what AdamW takes away of
# the loss, 92 %, Adafactor takes 0.04 %, and A, which is not zero, has nothing to learn from. Put in for AdamW to save
# memory it trains no adapter, and no new head of zeros; the loss is no number that looks wrong.
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

WIDTH, RANK, STEPS = 64, 8, 1000
torch.manual_seed(0)
inputs = torch.randn(256, WIDTH)
base = torch.randn(WIDTH, WIDTH) / 8
change = torch.randn(WIDTH, 2) @ torch.randn(2, WIDTH) / 16  # what the new task has to add: of rank 2
targets = inputs @ (base + change).T


def train(optimizer, rate):
    """The loss before and after training LoRA on a linear layer, and B's largest entry."""
    torch.manual_seed(1)
    down = torch.nn.Parameter(torch.nn.init.kaiming_uniform_(torch.empty(RANK, WIDTH), a=5**0.5))
    up = torch.nn.Parameter(torch.zeros(WIDTH, RANK))
    chosen = optimizer([down, up], lr=rate, weight_decay=0.0)
    losses = []
    for _ in range(STEPS):
        loss = (inputs @ (base + 2 * up @ down).T - targets).square().mean()
        losses.append(loss.item())
        chosen.zero_grad()
        loss.backward()
        chosen.step()
    return losses[0], losses[-1], up.abs().max().item()


print(f"torch {torch.__version__}; {STEPS} steps of LoRA at the same rate")
taken = {}
for rate in (1e-4, 1e-3):
    for optimizer in (torch.optim.AdamW, torch.optim.Adafactor):
        first, last, largest = train(optimizer, rate)
        taken[optimizer.__name__, rate] = 1 - last / first
        print(f"{optimizer.__name__}, rate {rate}: loss {first:.4f} to {last:.4f}, B's largest entry {largest:.1e}")
if not all(taken["AdamW", rate] > 0.9 and taken["Adafactor", rate] < 0.03 for rate in (1e-4, 1e-3)):
    print("Changed.")
    sys.exit(1)
PYTHON
