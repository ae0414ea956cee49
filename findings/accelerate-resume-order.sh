#!/usr/bin/env bash
# accelerate's way to go on within an epoch (load_state, then skip_first_batches) skips batches of another shuffle than
# the one that was under way: some rows of the epoch are trained twice and as many never, without a word. save_state
# keeps the random state of the moment, the order had been drawn before. (use_seedable_sampler is not the default.)
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
ACCELERATE=1.15.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "accelerate==$ACCELERATE"

cd "$folder" # nothing of a checkout is imported
cat >train.py <<'PYTHON'
import sys

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
from torch.utils.data import DataLoader

ROWS, BATCH, STOP = 1000, 10, 40
doing, seedable = sys.argv[1], sys.argv[2] == "seedable"
set_seed(0)
accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(use_seedable_sampler=seedable))
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters())
loader = DataLoader(range(ROWS), batch_size=BATCH, shuffle=True)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
if doing == "resume":
    accelerator.load_state("state")
    loader = accelerator.skip_first_batches(loader, STOP)
for step, batch in enumerate(loader, STOP if doing == "resume" else 0):
    print(*batch.tolist())
    if doing == "start" and step + 1 == STOP:
        accelerator.save_state("state")
        break
PYTHON
for seedable in default seedable; do
    rm -rf state
    for doing in start resume; do
        "$python" -W ignore train.py "$doing" "$seedable" >"$doing-$seedable"
    done
done
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys

print(f"accelerate {metadata.version('accelerate')}; an epoch of 1000 rows, stopped after 400 and taken up again")
twice = {}
for kind in ("default", "seedable"):
    before, after = ([int(row) for row in open(f"{doing}-{kind}").read().split()] for doing in ("start", "resume"))
    twice[kind] = len(set(before) & set(after))
    never = 1000 - len(set(before) | set(after))
    print(f"{kind} sampler: {len(before)} and {len(after)} rows; trained twice: {twice[kind]}, never: {never}")
if not (twice["default"] > 100 and twice["seedable"] == 0):
    print("Changed.")
    sys.exit(1)
PYTHON
