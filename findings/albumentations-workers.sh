#!/usr/bin/env bash
# A Compose of albumentations has its own random numbers, drawn when it is made, and a DataLoader's worker begins each
# epoch with a copy of it as it was then, with a seed and without one. With two workers both cut the same crops, and
# every epoch of a training cuts those of the first again: of 40 rows in 5 epochs there are 20 crops in all instead of
# 200 (in the main process, num_workers=0), and if the rows are not shuffled each has one for ever. Nothing is said.
# 2.0.8 is the last release of the package.
# Exits with 0 while that is so. Takes about 1.5 GB and the package index; Holdfast has no part in it.
set -euo pipefail
ALBUMENTATIONS=2.0.8 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "albumentations==$ALBUMENTATIONS"

cd "$folder" # nothing of a checkout is imported
NO_ALBUMENTATIONS_UPDATE=1 "$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

import albumentations
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

ROWS, EPOCHS, SIDE = 40, 5, 128
across, down = np.meshgrid(np.arange(SIDE, dtype=np.uint8), np.arange(SIDE, dtype=np.uint8))
PICTURE = np.stack([across, down, down], axis=-1)  # each pixel says where it lies


class Pictures(Dataset):
    def __init__(self, seed):
        self.change = albumentations.Compose([albumentations.RandomCrop(32, 32)], seed=seed)

    def __len__(self):
        return ROWS

    def __getitem__(self, row):
        column, line, _ = self.change(image=PICTURE)["image"][0, 0].tolist()
        return row, column, line


def count(seed, workers):
    """How many crops there are in all epochs, shuffled, and how many a row has in all, not shuffled."""
    torch.manual_seed(0)
    seen = []
    for shuffle in (True, False):
        loader = DataLoader(Pictures(seed), batch_size=1, shuffle=shuffle, num_workers=workers)
        seen.append([[(int(column), int(line)) for _, column, line in loader] for _ in range(EPOCHS)])
    shuffled, in_order = seen
    of_a_row = [len(set(epoch[row] for epoch in in_order)) for row in range(ROWS)]
    return len(set(sum(shuffled, []))), sum(of_a_row) / ROWS


versions = f"albumentations {metadata.version('albumentations')}, torch {torch.__version__}"
print(f"{versions}; {ROWS} rows, {EPOCHS} epochs, a crop of 32 by 32 out of {SIDE} by {SIDE}")
seen = {}
for seed in (None, 7):
    for workers in (0, 1, 2, 4):
        seen[seed, workers] = crops, each = count(seed, workers)
        print(f"seed {seed}, {workers} workers: {crops} crops in {EPOCHS} epochs; {each:.2f} of a row in a fixed order")
for seed in (None, 7):
    for workers in (0, 1, 2, 4):
        crops, each = seen[seed, workers]
        most = ROWS // workers if workers else ROWS * EPOCHS
        if not (0.8 * most < crops <= most and (each == 1 if workers else each > 0.9 * EPOCHS)):
            print("Changed.")
            sys.exit(1)
PYTHON
