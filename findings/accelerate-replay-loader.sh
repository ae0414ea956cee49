#!/usr/bin/env bash
# accelerate's accumulate() takes a step at the end of a data loader, so that an epoch's last part is not lost, and the
# loader that it asks is the one begun last, whichever that is. With replay that is the small loader of stored rows,
# which is begun anew all the time: with a buffer of 3 batches there is a step after every third part instead of every
# eighth (each part is divided by 8 all the same), and the end of the task's own epoch is not seen: the gradients of
# its last parts go into the next epoch, or the next task. With a large buffer it is these alone that go astray.
# Without prepare() for the replay loader all is as set.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
ACCELERATE=1.15.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "accelerate==$ACCELERATE"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

PARTS, PARTS_OF_A_STEP = 20, 8


def batches(count):
    return DataLoader(TensorDataset(torch.randn(2 * count, 4)), batch_size=2)


def forever(loader):
    """What a replay buffer gives: its batches, from the beginning again when they are through."""
    while True:
        yield from loader


def epoch(stored, prepared):
    """After which of the task's batches there was a step, and how much gradient is left at the end."""
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=PARTS_OF_A_STEP)
    model = torch.nn.Linear(4, 1)
    model, optimizer, task = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), batches(PARTS))
    replay = batches(stored)
    replay = forever(accelerator.prepare(replay) if prepared else replay)
    steps = []
    for number, (new,) in enumerate(task, start=1):
        (old,) = next(replay)
        with accelerator.accumulate(model):
            accelerator.backward(model(torch.cat([new, old])).square().mean())
            if accelerator.sync_gradients:
                steps.append(number)
            optimizer.step()
            optimizer.zero_grad()
    replay.close()
    left = model.weight.grad
    return steps, left is not None and bool(left.abs().sum() > 0)


print(f"accelerate {metadata.version('accelerate')}, an epoch of {PARTS} parts, a step after {PARTS_OF_A_STEP}")
seen = {}
for stored, prepared in ((3, False), (3, True), (50, True)):
    seen[stored, prepared] = steps, left = epoch(stored, prepared)
    name = f"a buffer of {stored} batches, {'prepared' if prepared else 'not prepared'}"
    print(f"{name}: steps after part {steps}{'; gradients left over at the end' if left else ''}")
expected = {
    (3, False): ([8, 16, 20], False),
    (3, True): ([3, 6, 9, 12, 15, 18], True),
    (50, True): ([8, 16], True),
}
if seen != expected:
    print("Changed.")
    sys.exit(1)
PYTHON
