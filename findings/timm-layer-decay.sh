#!/usr/bin/env bash
# With layer_decay timm's optimizers are to train the first layers of a pretrained model at a small part of the rate.
# create_optimizer_v2(model, "adamw", lr=1e-3, layer_decay=0.65) gives all of them 1e-3. The parts stand in the groups
# as "lr_scale", which torch's optimizers and schedulers pass over and only timm's own schedulers read. A model
# that is tuned with torch's cosine, or at a constant rate, has the same weights as without layer_decay, to the bit.
# The documentation says that "learning rates will be scaled", with an example that makes an optimizer alone.
# Exits with 0 while that is so. Takes about 7 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TIMM=1.0.31 TORCH=2.14.1 TORCHVISION=0.29.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "torchvision==$TORCHVISION" "timm==$TIMM"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 "$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import sys

import timm
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

STEPS, RATE, DECAY = 10, 1e-3, 0.65
SCHEDULES = {
    "no schedule": None,
    "torch's cosine": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS),
    "timm's cosine": lambda optimizer: create_scheduler_v2(optimizer, sched="cosine", num_epochs=STEPS)[0],
}


def trained(schedule, decay):
    """The weights after STEPS steps, and the smallest and largest rate of the first step."""
    torch.manual_seed(0)
    sizes = dict(img_size=32, patch_size=16, embed_dim=48, depth=6, num_heads=3, num_classes=2)
    model = timm.create_model("vit_tiny_patch16_224", **sizes)
    optimizer = create_optimizer_v2(model, "adamw", lr=RATE, weight_decay=0.05, layer_decay=decay)
    scheduler = schedule and schedule(optimizer)
    rates = [group["lr"] for group in optimizer.param_groups]
    pictures, classes = torch.randn(32, 3, 32, 32), torch.arange(32) % 2
    for step in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pictures), classes).backward()
        optimizer.step()
        if isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler):
            scheduler.step()
        elif scheduler:
            scheduler.step(step + 1)
    return torch.cat([weight.flatten() for weight in model.state_dict().values()]), min(rates), max(rates)


print(f"timm {metadata.version('timm')}, torch {metadata.version('torch')}: AdamW at {RATE} with layer_decay={DECAY}")
seen = {}
for name, schedule in SCHEDULES.items():
    without, *_ = trained(schedule, None)
    weights, lowest, highest = trained(schedule, DECAY)
    seen[name] = lowest / RATE, highest / RATE, torch.equal(weights, without)
    same = "the weights of" if seen[name][2] else "other weights than"
    print(f"{name}: rates from {lowest:.2g} to {highest:.2g}; {same} a training without layer_decay")
same = all(seen[name] == (1, 1, True) for name in ("no schedule", "torch's cosine"))
scaled = seen["timm's cosine"][0] < 0.06 and seen["timm's cosine"][1] == 1 and not seen["timm's cosine"][2]
if not (same and scaled):
    print("Changed.")
    sys.exit(1)
PYTHON
