#!/usr/bin/env bash
# A schedule of torch notes the rate that it finds in an optimiser under initial_lr, and a second schedule on the same
# optimiser finds the note of the first. With a new schedule for the second task it depends on its kind what becomes of
# the rate. LambdaLR (so all warm-ups of transformers, too) goes back to the first task's rate, whatever rate has been
# set for the second: here 100 times as high. CosineAnnealingLR and LinearLR take the one that was set; but where none
# was, they begin where the first schedule has ended, at 0, and the second task is not learned at all.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" numpy

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import math
import sys
import warnings

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR

STEPS, FIRST, SECOND = 50, 1e-3, 1e-5
SCHEDULES = {
    "LambdaLR (a cosine)": lambda optimizer: LambdaLR(optimizer, lambda n: (1 + math.cos(math.pi * n / STEPS)) / 2),
    "CosineAnnealingLR": lambda optimizer: CosineAnnealingLR(optimizer, STEPS),
    "LinearLR": lambda optimizer: LinearLR(optimizer, 1.0, 0.0, STEPS),
}


def two_tasks(make, set_rate):
    """The highest rate of the second task, and how far its training moved a weight on average."""
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=FIRST, weight_decay=0)
    inputs = torch.randn(64, 8)
    for task in range(2):
        if task == 1 and set_rate:
            for group in optimizer.param_groups:
                group["lr"] = SECOND
        schedule, rates, start = make(optimizer), [], model.weight.detach().clone()
        target = inputs @ torch.randn(8, 1)
        for _ in range(STEPS):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.zero_grad()
            (model(inputs) - target).square().mean().backward()
            optimizer.step()
            schedule.step()
    return max(rates), (model.weight - start).abs().mean().item()


print(f"torch {torch.__version__}; a task at a rate of {FIRST}, a second with a new schedule of the same kind")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for set_rate in (True, False):
        print(f"lr of the second task set to {SECOND}:" if set_rate else "lr not set again:")
        for name, make in SCHEDULES.items():
            seen[name, set_rate] = rate, moved = two_tasks(make, set_rate)
            print(f"  {name}: highest rate of the second task {rate:.0e}, a weight moves by {moved:.1e}")
print(f"warnings: {len(caught)}")
rates = [round(rate, 12) for rate, _ in seen.values()]
stays = all(seen[name, False][1] < 1e-9 for name in ("CosineAnnealingLR", "LinearLR"))
if not (rates == [FIRST, SECOND, SECOND, FIRST, 0, 0] and stays and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
