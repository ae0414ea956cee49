#!/usr/bin/env bash
# EMA of Composer keeps an average of the weights beside a training, which it is not to change: with no checkpoints, or
# with one an epoch, the model is trained as it is without it, to the bit. With an average taken each epoch
# (half_life="1ep") and checkpoints each so many batches (save_interval="4ba" and others) it is another training: at a
# checkpoint the average is put in the model's place, and where that is an epoch's last batch the next average is made
# of the two in the wrong order, so that what is trained on is the average of both. So the weights at the last
# batch depend on how often one saves, and the average is wrong, too. No word is said of it, and nothing is warned of.
# Exits with 0 while that is so. Takes about 6 GB and the package index; Holdfast has no part in it.
set -euo pipefail
COMPOSER=0.32.1 TORCH=2.7.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "mosaicml==$COMPOSER" "torch==$TORCH"

cd "$folder" # nothing of a checkout is imported
CUDA_VISIBLE_DEVICES="" "$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import sys

import torch
from composer import Trainer
from composer.algorithms import EMA
from composer.core import Callback
from composer.models import ComposerModel
from torch.utils.data import DataLoader, TensorDataset

EPOCHS, BATCHES, ROWS = 4, 4, 16

torch.manual_seed(1)
inputs = torch.randn(BATCHES * ROWS, 4)
data = TensorDataset(inputs, inputs @ torch.tensor([[1.0], [2.0], [3.0], [4.0]]))


class Line(ComposerModel):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weights = torch.nn.Linear(4, 1)

    def forward(self, batch):
        return self.weights(batch[0])

    def loss(self, outputs, batch):
        return (outputs - batch[1]).square().mean()


class Watch(Callback):
    """The weights that each batch is learned with."""

    def __init__(self):
        self.seen = []

    def batch_start(self, state, logger):
        self.seen.append(state.model.weights.weight.detach().clone())


def train(averaged, save_interval=None):
    """The weights at each batch."""
    model, watch = Line(), Watch()
    average = EMA(half_life="1ep") if averaged else None
    folder = f"saved-{averaged}-{save_interval}" if save_interval else None
    Trainer(
        model=model, train_dataloader=DataLoader(data, batch_size=ROWS), max_duration=f"{EPOCHS}ep", device="cpu",
        optimizers=torch.optim.SGD(model.parameters(), lr=0.05), algorithms=[average] if averaged else [],
        callbacks=[watch], progress_bar=False, save_folder=folder, save_interval=save_interval or "1ep",
    ).fit()  # fmt: skip
    return torch.stack(watch.seen)


print(f"composer {metadata.version('mosaicml')}, EMA of epochs; {EPOCHS} epochs of {BATCHES} batches")
plain = train(averaged=False)
if not torch.equal(plain, train(averaged=False, save_interval="4ba")):
    sys.exit("Saving changes a training without EMA, too.")
first = {}
for interval in (None, "1ep", "2ba", "3ba", "4ba"):
    seen = train(averaged=True, save_interval=interval)
    differs = [i for i in range(len(seen)) if not torch.equal(seen[i], plain[i])]
    first[interval] = differs[0] + 1 if differs else None
    off = (seen[-1] - plain[-1]).norm() / (plain[-1] - plain[0]).norm()
    print(f"saved each {interval}: first batch with other weights {first[interval]}, of {len(seen)}; ", end="")
    print(f"at the last batch {seen[-1].flatten().tolist()}, off by {off:.0%} of the way")
    if differs and off < 0.05:
        sys.exit("Changed: it is hardly to be seen.")
print(f"without EMA at the last batch {plain[-1].flatten().tolist()}")
if first != {None: None, "1ep": None, "2ba": 9, "3ba": 13, "4ba": 9}:
    print("Changed.")
    sys.exit(1)
PYTHON
