#!/usr/bin/env bash
# Lightning's weight averages (WeightAveraging, EMAWeightAveraging) begin as a copy of the model as it was before the
# training, and take its place at the end. The callback remembers the step of its last update: given to a second task's
# Trainer it waits until that one has as many steps, and a second task that is no longer than the first ends as the very
# model that it began with, whatever the training loss has come to. It is the same with an average that is to start at a
# step that the training does not reach, and until an average starts every validation is one of the untrained model.
# Nothing is said of it.
# Exits with 0 while that is so. Takes about 1.2 GB and the package index; Holdfast has no part in it.
set -euo pipefail
LIGHTNING=2.6.6 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "lightning==$LIGHTNING"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - 2>said.txt <<'PYTHON' || { tail -n 20 said.txt; exit 1; }
import importlib.metadata as metadata
import logging
import sys

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.utils.data import DataLoader, TensorDataset


class Model(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
        self.losses, self.validated = [], []

    def training_step(self, batch, _):
        loss = torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, _):
        self.validated.append(self.accuracy(*batch))

    def accuracy(self, rows, classes):
        return (self.layers(rows).argmax(1) == classes).float().mean().item()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def task(seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(640, 10, generator=generator)
    return TensorDataset(rows, (rows @ torch.randn(10, 4, generator=generator)).argmax(1))


def learned(model, rows, average):
    """The loss of the last epoch, its validation, the accuracy of what is left, if its weights are as before."""
    before = [weight.clone() for weight in model.parameters()]
    model.losses, model.validated = [], []
    Trainer(
        max_epochs=20, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, callbacks=[average] if average else None,
    ).fit(model, DataLoader(rows, batch_size=32, shuffle=True), DataLoader(rows, batch_size=640))  # fmt: skip
    same = all(torch.equal(old, now) for old, now in zip(before, model.parameters(), strict=True))
    return sum(model.losses[-20:]) / 20, model.validated[-1], model.accuracy(*rows.tensors), same


logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
print(f"lightning {metadata.version('lightning')}, 400 steps a task")
kept = EMAWeightAveraging(decay=0.99)
RUNS = {
    "no averages": lambda: None,
    "a new callback for each task": lambda: EMAWeightAveraging(decay=0.99),
    "one callback for both tasks": lambda: kept,
    "averages from step 500 on": lambda: EMAWeightAveraging(decay=0.99, update_starting_at_step=500),
}
seen = {}
for name, average in RUNS.items():
    model = Model()
    seen[name] = [learned(model, task(seed), average()) for seed in (1, 2)]
    print(name)
    for number, (loss, validated, right, same) in zip(("first", "second"), seen[name], strict=True):
        weights = "the weights of before it" if same else "other weights than before it"
        print(f"  {number} task: loss {loss:.2f}, validated {validated:.0%}, accuracy after it {right:.0%}, {weights}")
good = {"no averages": (1, 1), "a new callback for each task": (1, 1), "one callback for both tasks": (1, 0)}
for name, tasks in seen.items():
    for (loss, validated, right, same), well in zip(tasks, good.get(name, (0, 0)), strict=True):
        if loss > 0.4 or same == well or (min(validated, right) < 0.8 if well else max(validated, right) > 0.6):
            print("Changed.")
            sys.exit(1)
PYTHON
if grep -i "averag" said.txt; then
    echo "Changed: something is said of it."
    exit 1
fi
