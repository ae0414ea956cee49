#!/usr/bin/env bash
# A training loop within one torch.autocast learns nothing: autocast keeps the bfloat16 copies of the weights until its
# context is left, so that every step after the first is taken by the weights from before it. The gradients are not 0,
# the optimiser steps, the weights move, and the loss stays where it was to the last digit; nothing is said. With
# autocast around each forward pass, or with cache_enabled=False, the same loop learns.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import contextlib
import sys
import warnings

import torch
from torch import nn

warnings.simplefilter("error")  # nothing is said
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")


def train(around_loop, around_step):
    """First and last loss of 50 steps, how far the weights moved, and the loss of these weights afterwards."""
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(64, 8, generator=draw)
    targets = inputs.sum(1, keepdim=True)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 1))
    start = [weight.detach().clone() for weight in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    with around_loop():
        for _ in range(50):
            with around_step():
                loss = nn.functional.mse_loss(model(inputs).float(), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    moved = sum((new - old).square().sum() for new, old in zip(model.parameters(), start, strict=True)).sqrt()
    return losses[0], losses[-1], moved.item(), nn.functional.mse_loss(model(inputs), targets).item()


def autocast(**settings):
    return lambda: torch.autocast("cpu", torch.bfloat16, **settings)


print(f"torch {torch.__version__}; 50 steps of AdamW, first and last loss")
plain = contextlib.nullcontext
cases = {
    "autocast around each step": (plain, autocast()),
    "autocast around the loop": (autocast(), plain),
    "around the loop, cache_enabled=False": (autocast(cache_enabled=False), plain),
}
seen = {name: train(*contexts) for name, contexts in cases.items()}
for name, (first, last, moved, after) in seen.items():
    print(f"{name}: {first:.4f} to {last:.4f}; weights moved by {moved:.2f}, loss of the last weights {after:.4f}")
step, loop, uncached = seen.values()
learns = step[1] < 0.1 * step[0] and uncached[1] < 0.1 * uncached[0]
if not (learns and loop[0] == loop[1] and loop[2] > 1):
    print("Changed.")
    sys.exit(1)
PYTHON
