#!/usr/bin/env bash
# torchdata's StatefulDataLoader, made to go on where it stopped, does so with shuffle=True, but not if it was given a
# generator, as one does to repeat a run: taken up again in its second epoch from state_dict() it ends that epoch as it
# should, and every later epoch has another order than the run that was not stopped; saved between two epochs already
# the next one has. With a WeightedRandomSampler that has a generator the rest of the second epoch is that of the
# first: what was drawn then is drawn again, and what was to come is not. Nothing is said, here and in the
# documentation of generator and sampler, and the number of batches is right.
# Exits with 0 while that is so. Takes about 900 MB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCHDATA=0.11.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torchdata==$TORCHDATA" "torch==$TORCH"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import itertools
import sys

import torch
from torch.utils.data import WeightedRandomSampler
from torchdata.stateful_dataloader import StatefulDataLoader

ROWS, BATCH = list(range(1000)), 10
LOADERS = {
    "shuffle": lambda: dict(shuffle=True),
    "shuffle and a generator": lambda: dict(shuffle=True, generator=torch.Generator().manual_seed(0)),
    "weights and a generator": lambda: dict(
        sampler=WeightedRandomSampler([1.0, 2.0] * 500, len(ROWS), generator=torch.Generator().manual_seed(0))
    ),
}


def loader(settings):
    torch.manual_seed(0)
    return StatefulDataLoader(ROWS, batch_size=BATCH, **settings())


def epoch(batches):
    return [row for batch in batches for row in batch.tolist()]


print(", ".join(f"{name} {metadata.version(name)}" for name in ("torchdata", "torch")))
seen = {}
for name, settings in LOADERS.items():
    whole = loader(settings)
    first, second, third = (epoch(whole) for _ in range(3))

    stopped = loader(settings)
    epoch(stopped)
    between = stopped.state_dict()
    for _ in itertools.islice(stopped, 60):
        within = stopped.state_dict()

    again = loader(settings)
    again.load_state_dict(within)
    rest, after = epoch(again), epoch(again)
    other = loader(settings)
    other.load_state_dict(between)
    seen[name] = {
        "the rest of the second epoch is the second's": rest == second[60 * BATCH :],
        "is the first's": rest == first[60 * BATCH :],
        "the third epoch is the same": after == third,
        "saved between two epochs, the second is the same": epoch(other) == second,
    }
    print(f"{name}: {seen[name]}")
known = [(True, False, True, True), (True, False, False, False), (False, True, False, True)]
if [tuple(answers.values()) for answers in seen.values()] != known:
    print("Changed.")
    sys.exit(1)
PYTHON
