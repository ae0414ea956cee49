#!/usr/bin/env bash
# EWC of clarena divides the Fisher information of a task, summed over its rows once, by the number of rows that all
# epochs have shown: after ten epochs the importances, and so the penalty, are a tenth of what the documentation's
# formula gives (when_calculate_fisher_information="train_end"). A factor that was found with one epoch is fifty
# times weaker with fifty. Nothing says so.
# Exits with 0 while that is so. Takes about 7 GB and the package index; Holdfast has no part in it.
set -euo pipefail
CLARENA=1.1.0 TORCH=2.14.1 TORCHVISION=0.29.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "torchvision==$TORCHVISION" "clarena==$CLARENA"

cd "$folder" # nothing of a checkout is imported
HOME="$folder" WANDB_MODE=disabled "$python" -W ignore - <<'PYTHON'
import functools
import importlib.metadata as metadata
import logging
import sys

import lightning
import torch
from clarena.backbones import CLMLP
from clarena.cl_algorithms import EWC
from clarena.heads import HeadsTIL
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
COUNT, BATCH = 500, 1


class Rows(lightning.LightningDataModule):
    """Rows of a task of two classes, one a batch."""

    def train_dataloader(self):
        inputs = torch.randn(COUNT, 20, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(inputs, (inputs[:, 0] > 0).long()), batch_size=BATCH)


def ratio(epochs):
    """The importances of a task, as a share of the mean of its rows' squared gradients at the end."""
    torch.manual_seed(0)
    backbone = CLMLP(input_dim=20, hidden_dims=[32], output_dim=16)
    model = EWC(
        backbone=backbone, heads=HeadsTIL(16), parameter_change_reg_factor=1.0,
        when_calculate_fisher_information="train_end",
    )  # fmt: skip
    model.setup_task_id(1, 2, functools.partial(torch.optim.SGD, lr=1e-3), None)
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    data = Rows()
    trainer.fit(model, datamodule=data)
    formula = {name: torch.zeros_like(weight) for name, weight in model.backbone.named_parameters()}
    for inputs, classes in data.train_dataloader():
        model.zero_grad()
        logits = model.eval().forward(inputs, stage="train", task_id=1)[0]
        torch.nn.functional.cross_entropy(logits, classes).backward()
        for name, weight in model.backbone.named_parameters():
            formula[name] += weight.grad**2 / COUNT
    return (
        sum(importance.sum() for importance in model.parameter_importance[1].values())
        / sum(fisher.sum() for fisher in formula.values())
    ).item()


print(f"clarena {metadata.version('clarena')}, EWC; importances as a share of the formula's")
seen = {epochs: ratio(epochs) for epochs in (1, 2, 10)}
for epochs, share in seen.items():
    print(f"{epochs} epochs: {share:.3f}")
if any(abs(share * epochs - 1) > 0.02 for epochs, share in seen.items()):
    print("Changed.")
    sys.exit(1)
PYTHON
