#!/usr/bin/env bash
# LwF of clarena (CL Arena) counts the distillation of earlier tasks without a gradient: the head that the student's
# answers pass is called under no_grad. The loss is reported and grows with its factor, and nothing is learned of it:
# with a factor of 0.01 or of 1,000 the weights after the second task are those of fine-tuning, to the bit, and so is
# what is left of the first. The documentation says that the factor "controls the strength of preventing forgetting".
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
from clarena.cl_algorithms import Finetuning, LwF
from clarena.heads import HeadsTIL
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
FACTORS = (0.01, 1.0, 1000.0)


def rows(task, count, seed):
    """Rows of a task of two classes; the tasks ask about other directions of the same rows."""
    inputs = torch.randn(count, 20, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, (inputs[:, task] + inputs[:, task + 1] > 0).long())


class Logged(lightning.Callback):
    """The last loss of distillation that a step reports."""

    loss = 0.0

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.loss = float(outputs.get("loss_reg", 0.0))


def trained(kind, **settings):
    """What a method has of the first task after the second, its weights, and the loss of distillation."""
    torch.manual_seed(0)
    backbone = CLMLP(input_dim=20, hidden_dims=[64], output_dim=32)
    model = kind(backbone=backbone, heads=HeadsTIL(32), **settings)
    logged = Logged()
    for task in (1, 2):
        model.setup_task_id(task, 2, functools.partial(torch.optim.Adam, lr=3e-3), None)
        torch.manual_seed(task)
        trainer = lightning.Trainer(
            max_epochs=10, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[logged],
        )  # fmt: skip
        trainer.fit(model, DataLoader(rows(4 * task, 1000, task), batch_size=50, shuffle=True))
    inputs, classes = rows(4, 2000, 9).tensors
    with torch.no_grad():
        guesses = model.eval().forward(inputs, stage="test", task_id=1)[0].argmax(1)
    weights = torch.cat([weight.flatten() for weight in model.parameters()])
    return (guesses == classes).float().mean().item(), weights, logged.loss


print(f"clarena {metadata.version('clarena')}; the first task after the second")
share, plain, _ = trained(Finetuning)
print(f"fine-tuning: {share:.1%}")
changed = False
for factor in FACTORS:
    kept, weights, loss = trained(LwF, distillation_reg_factor=factor, distillation_reg_temperature=2.0)
    same = torch.equal(weights, plain)
    changed |= not (same and kept == share and loss > 0.1 * factor)
    print(f"LwF, factor {factor:g}: {kept:.1%}, loss of distillation {loss:.3g}, the weights of fine-tuning: {same}")
if changed:
    print("Changed.")
    sys.exit(1)
PYTHON
