#!/usr/bin/env bash
# EWC of clarena with when_calculate_fisher_information="train" adds each step's gradient of the loss up twice: it goes
# back once for the importances, leaves what it found in place, and goes back again for the step. With SGD the first
# task's step is twice as long as with "train_end", or in plain fine-tuning, as though at twice the rate; and from the
# second task on the penalty, which is added once, weighs half as much beside the loss. By the documentation the setting
# says when the importances are taken, and nothing else.
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
from clarena.cl_algorithms import EWC, Finetuning
from clarena.heads import HeadsTIL
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
COUNT, RATE = 64, 0.01


class Rows(lightning.LightningDataModule):
    """The first task's rows, all in one batch."""

    def train_dataloader(self):
        inputs = torch.randn(COUNT, 20, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(inputs, (inputs[:, 0] > 0).long()), batch_size=COUNT)


def flat(model):
    return torch.cat([weight.detach().flatten() for weight in model.backbone.parameters()])


def step(kind, **settings):
    """What one step of SGD does to the weights."""
    torch.manual_seed(0)
    model = kind(backbone=CLMLP(input_dim=20, hidden_dims=[32], output_dim=16), heads=HeadsTIL(16), **settings)
    model.setup_task_id(1, 2, functools.partial(torch.optim.SGD, lr=RATE), None)
    before = flat(model)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=Rows())
    return flat(model) - before


def ewc(when):
    return step(EWC, parameter_change_reg_factor=1.0, when_calculate_fisher_information=when)


print(f"clarena {metadata.version('clarena')}, one step of SGD on the first task")
plain, at_end, while_training = step(Finetuning), ewc("train_end"), ewc("train")
for name, moved in (("fine-tuning", plain), ("EWC, train_end", at_end), ("EWC, train", while_training)):
    print(f"{name}: the weights move by {moved.norm():.5f}")
same, double = torch.equal(plain, at_end), torch.allclose(while_training, 2 * plain, rtol=1e-3, atol=1e-7)
print(f"train_end as fine-tuning: {same}; train twice that, weight by weight: {double}")
if not (same and double):
    print("Changed.")
    sys.exit(1)
PYTHON
