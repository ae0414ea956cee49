#!/usr/bin/env bash
# ReduceLROnPlateau lowers the rate when a value has not got better by its threshold, a ten-thousandth of the best one.
# Of a negative value a ten-thousandth more is less: with mode="max" -2 counts as better than -2, and so does one that
# falls by 0.005 % in every epoch. So with a score below 0 (a log-likelihood, backward transfer) or, with mode="min", a
# loss below 0, the rate never falls, and the best value follows the bad ones down. The same curve 3 higher, above 0,
# or threshold_mode="abs" lowers the rate four times in 24 epochs. The documentation gives the formula, without this.
# Exits with 0 while that is so. Takes about 900 MB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

EPOCHS = 24
FALLING = [-1 - 0.00005 * epoch for epoch in range(EPOCHS)]
CASES = {  # mode, the values of the epochs, further settings
    "a score of -1 in every epoch": ("max", [-1.0] * EPOCHS, {}),
    "a score of 1 in every epoch": ("max", [1.0] * EPOCHS, {}),
    "a score that falls from -1": ("max", FALLING, {}),
    "the same, 3 higher": ("max", [score + 3 for score in FALLING], {}),
    "the same as it is, threshold_mode='abs'": ("max", FALLING, {"threshold_mode": "abs"}),
    "a loss that rises from -1": ("min", [-1 + 0.00005 * epoch for epoch in range(EPOCHS)], {}),
    "a loss that rises from 1": ("min", [1 + 0.00005 * epoch for epoch in range(EPOCHS)], {}),
}
print(f"torch {metadata.version('torch')}; patience 4, {EPOCHS} epochs in which nothing gets better")
seen = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, (mode, values, settings) in CASES.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = ReduceLROnPlateau(optimizer, mode=mode, patience=4, **settings)
        for value in values:
            scheduler.step(value)
        seen.append(optimizer.param_groups[0]["lr"])
        print(f"{name} ({mode}): rate {seen[-1]:.0e}, best {scheduler.best:.5f}")
print(f"warnings: {len(caught)}")
if [rate == 1 for rate in seen] != [True, False, True, False, False, True, False] or caught:
    print("Changed.")
    sys.exit(1)
PYTHON
