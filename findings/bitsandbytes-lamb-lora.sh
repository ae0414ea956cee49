#!/usr/bin/env bash
# bitsandbytes' LAMB and LARS leave a weight that begins at 0 there for good: they cut each step to a share of the
# weight's own length, and that is 0. So it is with LoRA, whose second matrix begins at 0: nothing is learned at any
# rate, without a word, and biases that begin at 0 stay out of a training that goes well otherwise. LAMB8bit is no
# better, for matrices of under 4,096 numbers are in 32 bits. Other implementations of LAMB take the whole step where
# the length is 0. The documentation of bitsandbytes does not say what happens there. (Seen on a CPU.)
# Exits with 0 while that is so. Takes about 7 GB and the package index; Holdfast has no part in it.
set -euo pipefail
BITSANDBYTES=0.50.2 TORCH=2.14.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "bitsandbytes==$BITSANDBYTES"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import torch
from bitsandbytes import optim

SIZE, RANK, STEPS = 64, 8, 200
OPTIMIZERS = {
    "AdamW": lambda weights, rate: optim.AdamW(weights, lr=rate),
    "LAMB": lambda weights, rate: optim.LAMB(weights, lr=rate),
    "LAMB8bit": lambda weights, rate: optim.LAMB8bit(weights, lr=rate),
    "LARS": lambda weights, rate: optim.LARS(weights, lr=rate, momentum=0.9),
}


def trained(make, rate, start):
    """How much of the loss is learned away by LoRA whose second matrix begins at 0, or with small random numbers."""
    torch.manual_seed(0)
    first = torch.nn.Parameter(torch.randn(RANK, SIZE) / RANK)
    second = torch.nn.Parameter(torch.randn(SIZE, RANK) * start)
    rows, change = torch.randn(512, SIZE), torch.randn(SIZE, RANK) @ torch.randn(RANK, SIZE) / SIZE
    optimizer, losses = make([first, second], rate), []
    for _ in range(STEPS):
        loss = (rows @ (second @ first - change).T).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return 1 - losses[-1] / losses[0], second.abs().max().item()


print(f"bitsandbytes {metadata.version('bitsandbytes')}, torch {torch.__version__}, {STEPS} steps of LoRA")
still = True
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, make in OPTIMIZERS.items():
        seen = {rate: trained(make, rate, start=0) for rate in (0.001, 0.01, 0.1)}
        other, _ = trained(make, 0.1, start=0.01)
        shares = ", ".join(f"{share:.0%} at {rate}" for rate, (share, _) in seen.items())
        largest = max(weight for _, weight in seen.values())
        print(f"{name}: learned {shares}; largest weight {largest:.2g}; begun at 0.01 instead of 0: {other:.0%}")
        still &= (largest > 0.1) if name == "AdamW" else all(each == (0, 0) for each in seen.values())
told = [str(warning.message) for warning in caught if "norm" in str(warning.message).lower()]
if not still or told:
    print("Changed.")
    sys.exit(1)
PYTHON
