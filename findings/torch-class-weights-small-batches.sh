#!/usr/bin/env bash
# The mean of a weighted cross_entropy is divided by the sum of the batch's own weights. In a batch of one row the
# weight goes out again: with batches of one and accumulation, as large pictures are trained, weights of 1 to 19 for a
# class that is 5 % of the rows do nothing at all, and 2 % of the rare rows are found, as without weights. With batches
# of 8 37 % are, and with batches of 64, the same rows in the same steps, 64 %. So how much a rare answer counts is
# settled by the batch, and by what else happens to be in it. Nothing is said.
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
from torch.nn.functional import cross_entropy

ROWS, EPOCHS, RARE, STEP = 4096, 10, 0.05, 64
torch.manual_seed(0)
classes = (torch.rand(ROWS) < RARE).long()
inputs = torch.randn(ROWS, 8)
inputs[:, 0] += classes  # the rare rows lie a little further on
WEIGHTS = torch.tensor([1.0, (1 - RARE) / RARE])


def train(batch, weight, own_mean=False):
    """How many of the common and of the rare rows are told rightly; each step is of 64 rows, in parts of a batch."""
    torch.manual_seed(1)
    model = torch.nn.Linear(8, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for epoch in range(EPOCHS):
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(STEP):
            optimizer.zero_grad()
            for part in rows.split(batch):
                if own_mean:
                    loss = cross_entropy(model(inputs[part]), classes[part], weight, reduction="sum") / batch
                else:
                    loss = cross_entropy(model(inputs[part]), classes[part], weight)
                (loss * len(part) / len(rows)).backward()
            optimizer.step()
    right = model(inputs).argmax(-1) == classes
    return [right[classes == kind].float().mean().item() for kind in (0, 1)], model.weight.detach()


print(f"torch {torch.__version__}; {RARE:.0%} of the rows are of the rare class, steps of {STEP} rows in batches")
seen = {}
for batch in (64, 8, 1):
    for name, weight, own_mean in (
        ("no weights", None, False),
        ("weights 1 and 19", WEIGHTS, False),
        ("weights 1 and 19, by the number of rows", WEIGHTS, True),
    ):
        (common, rare), seen_weights = train(batch, weight, own_mean)
        seen[batch, name] = rare, seen_weights
        print(f"batches of {batch}, {name}: right of the common {common:.0%}, of the rare {rare:.0%}")
with_weights = [seen[batch, "weights 1 and 19"][0] for batch in (64, 8, 1)]
alike = torch.allclose(seen[1, "weights 1 and 19"][1], seen[1, "no weights"][1], atol=1e-5)
even = [seen[batch, "weights 1 and 19, by the number of rows"][0] for batch in (64, 8, 1)]
large, middle, one = with_weights
if not (large > 0.6 and 0.3 < middle < 0.5 and one < 0.05 and alike and max(even) - min(even) < 0.01):
    print("Changed.")
    sys.exit(1)
PYTHON
