#!/usr/bin/env bash
# A DataLoader of torch takes a number from the global random generator each time it is iterated, though it neither
# shuffles nor has workers to seed. So an evaluation between two epochs, without any randomness of its own, gives the
# training another order of rows from there on, and other weights at its end: a run that is evaluated on one more task
# is another run of the same seed. (A training loader with a generator of its own keeps its order.)
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
from torch.utils.data import DataLoader, TensorDataset

rows = torch.arange(16).reshape(-1, 1).float()


def train(evaluated):
    """The order of each epoch's rows, and the weight at the end, with so many evaluations after an epoch."""
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    training = DataLoader(TensorDataset(rows), batch_size=1, shuffle=True)
    held_out = [DataLoader(TensorDataset(rows), batch_size=4, shuffle=False) for _ in range(evaluated)]
    epochs = []
    for _ in range(2):
        model.train()
        epochs.append([])
        for (row,) in training:
            epochs[-1].append(int(row.item()))
            optimizer.zero_grad()
            (model(row) - row.sqrt()).square().sum().backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for task in held_out:
                for (row,) in task:
                    model(row)
    return epochs, model.weight.item()


print(f"torch {torch.__version__}, two epochs of 16 rows, evaluated after each on no, one and two tasks")
print("Expected: an evaluation that draws nothing leaves the training as it is.")
seen = [train(evaluated) for evaluated in range(3)]
for evaluated, (epochs, weight) in enumerate(seen):
    print(f"{evaluated} tasks: second epoch {epochs[1]}, weight {weight:.6f}")
first, second, weights = zip(*((epochs[0], epochs[1], weight) for epochs, weight in seen), strict=True)
if not (first[0] == first[1] == first[2] and len({*map(tuple, second)}) == 3 and len({*weights}) == 3):
    print("Changed.")
    sys.exit(1)
PYTHON
