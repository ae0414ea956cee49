#!/usr/bin/env bash
# An evaluation that a training loop breaks off after some batches, as is done to save time, changes the training: the
# loader that was left counts as the one in use from then on, so accelerate does not see that the training's epoch ends
# and takes no step for the batches that are left. With an accumulation over 4 parts 10 batches are trained in steps of
# 4, 4 and 2; with the evaluation broken off in steps of 4 and 4: the rest goes into the next epoch's first step, and
# what is left of the last epoch is never learned. With an accumulation over 16 an epoch takes no step at all. If the
# break comes in the evaluation's last batch, every batch of training after it is a step of its own. An evaluation that
# ends by itself changes nothing. The documentation does not say so.
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
import itertools
import sys

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset


def steps(parts, evaluated, epochs=1):
    """How many batches each step of a training has, where an epoch has 10, and how many of them have been learned."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=parts)
    model = torch.nn.Linear(10, 1, bias=False)  # a weight for each batch of an epoch
    torch.nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    rows = DataLoader(TensorDataset(torch.eye(10).repeat_interleave(2, 0)), batch_size=2)
    held_out = DataLoader(TensorDataset(torch.zeros(10, 10)), batch_size=2)
    model, optimizer, rows, held_out = accelerator.prepare(model, optimizer, rows, held_out)
    taken, waiting = [], 0
    for _ in range(epochs):
        for number, (batch,) in enumerate(rows):
            with accelerator.accumulate(model):
                accelerator.backward((model(batch) - 1).square().mean())
                waiting += 1
                if accelerator.sync_gradients:
                    taken.append(waiting)
                    waiting = 0
                optimizer.step()
                optimizer.zero_grad()
            if number == 4:
                for (batch,) in itertools.islice(held_out, evaluated):  # as a break after so many batches does
                    with torch.no_grad():
                        model(batch)
    return taken, sum(weight != 0 for weight in model.weight[0].tolist())


print(f"accelerate {metadata.version('accelerate')}, epochs of 10 batches, after the fifth an evaluation of 5")
KINDS = {0: "no evaluation", None: "a whole one", 2: "broken off after 2", 5: "broken off after its last"}
EXPECTED = {
    (4, 1): [([4, 4, 2], 10), ([4, 4, 2], 10), ([4, 4], 8), ([4, 2, 1, 1, 1, 1], 10)],
    (4, 2): [([4, 4, 2] * 2, 10), ([4, 4, 2] * 2, 10), ([4] * 5, 10), ([4, 2, 1, 1, 1, 1] * 2, 10)],
    (16, 1): [([10], 10), ([10], 10), ([], 0), ([6, 1, 1, 1, 1], 10)],
}
seen = {}
for parts, epochs in EXPECTED:
    seen[parts, epochs] = [steps(parts, evaluated, epochs) for evaluated in KINDS]
    print(f"accumulation over {parts}, epochs: {epochs}")
    for kind, (taken, learned) in zip(KINDS.values(), seen[parts, epochs], strict=True):
        print(f"  {kind}: steps of {taken} batches; {learned} of 10 learned")
if seen != EXPECTED:
    print("Changed.")
    sys.exit(1)
PYTHON
