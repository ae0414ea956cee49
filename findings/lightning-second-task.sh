#!/usr/bin/env bash
# Lightning's fit() for a second task does nothing, if the Trainer has done the epochs of max_epochs with the first: no
# step, and the log has the line that stands at the end of each training. With a new Trainer, but the callbacks of the
# first, EarlyStopping and ModelCheckpoint go on as if it were the same training: a second task that is harder is
# stopped when patience is over though it gets better with each epoch, and test(ckpt_path="best") judges it with the
# first task's model.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
LIGHTNING=2.6.6 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "lightning==$LIGHTNING" numpy

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import logging
import sys

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

EPOCHS, PATIENCE = 6, 3
said = []
logger = logging.getLogger("lightning.pytorch")
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logger.handlers, logger.propagate = [handler], False


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 2)

    def training_step(self, batch, _):
        return cross_entropy(self.layer(batch[0]), batch[1])

    def _judge(self, batch):
        self.log("accuracy", (self.layer(batch[0]).argmax(1) == batch[1]).float().mean())

    def validation_step(self, batch, _):
        self._judge(batch)

    def test_step(self, batch, _):
        self._judge(batch)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def task(seed, noise):
    """Rows of which one can know the side of, but for the noise."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(1024, 8, generator=generator)
    side = rows @ torch.randn(8, generator=generator) + noise * torch.randn(1024, generator=generator)
    return TensorDataset(rows, (side > 0).long())


def fit(trainer, model, rows):
    """Steps taken, accuracy after each epoch, and in a test with the "best" checkpoint."""
    said.clear()
    history.clear()
    batches, before = DataLoader(rows, batch_size=64), trainer.global_step
    trainer.fit(model, batches, DataLoader(rows, batch_size=len(rows)))
    steps = trainer.global_step - before
    stopped = [line for line in said if "stopped" in line]
    best = trainer.test(model, DataLoader(rows, batch_size=len(rows)), ckpt_path="best", verbose=False)
    return steps, list(history), best[0]["accuracy"], stopped


class History(lightning.Callback):
    def on_validation_epoch_end(self, trainer, _):
        history.append(round(trainer.callback_metrics["accuracy"].item(), 3))


def callbacks(name):
    stop = EarlyStopping("accuracy", mode="max", patience=PATIENCE)
    return [stop, ModelCheckpoint(name, monitor="accuracy", mode="max"), History()]


def trainer(used):
    return lightning.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, callbacks=used, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip


history = []
first, second = task(1, 0), task(2, 3)
print(f"lightning {lightning.__version__}; a first task, and a harder second one, {EPOCHS} epochs of 16 steps each")
results = {}
for way in ("all of its own", "the first one's Trainer", "the first one's callbacks"):
    lightning.seed_everything(0, verbose=False)
    model, used = Classifier(), callbacks(way)
    one = trainer(used)
    fit(one, model, first)
    if way == "all of its own":
        one = trainer(callbacks(f"{way}, second"))
    elif way == "the first one's callbacks":
        one = trainer(used)
    results[way] = steps, accuracies, best, stopped = fit(one, model, second)
    print(f"The second task with {way}: {steps} steps, accuracies {accuracies}; with the best checkpoint {best:.3f}")
    print(f"  said of the end: {stopped}")
own, same, shared = results.values()
good = own[0] == 16 * EPOCHS and own[2] > 0.6 and own[3] == same[3]
rising = shared[1] == sorted(shared[1]) and len(shared[1]) == PATIENCE
if not (good and same[0] == 0 and shared[0] == 16 * PATIENCE and rising and shared[2] < own[2] - 0.1 > same[2]):
    print("Changed.")
    sys.exit(1)
PYTHON
