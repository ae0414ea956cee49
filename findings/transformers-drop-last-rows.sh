#!/usr/bin/env bash
# dataloader_drop_last=True, set so that no training step is a small one, leaves the last rows out of Trainer's evaluate
# and predict, too: of 37 rows in batches of 16 the last five are not judged, and a model that is wrong on those alone
# has an accuracy of 1. The rows per second are told as if there had been 37. How many are left out, and so what is
# measured, depends on per_device_eval_batch_size. Nothing is said of it; the documentation speaks of "the dataset".
# Exits with 0 while that is so. Takes about 1.3 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 ACCELERATE=1.15.0 DATASETS=5.2.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "transformers==$TRANSFORMERS" "accelerate==$ACCELERATE" "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import torch
from datasets import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments

ROWS, WRONG = 37, 5
rows = Dataset.from_dict({"row": list(range(ROWS)), "labels": [row % 2 for row in range(ROWS)]})


class Model(torch.nn.Module):
    """Right on all rows but the last five."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, row, labels=None):
        answers = (row + (row >= ROWS - WRONG)) % 2
        return {"loss": self.weight, "logits": torch.nn.functional.one_hot(answers, 2).float()}


def accuracy(output):
    return {"accuracy": float((output.predictions.argmax(-1) == output.label_ids).mean())}


def judged(drop, batch):
    """The predictions that come back, the accuracy of evaluate, and the rows that its speed counts."""
    arguments = TrainingArguments(
        output_dir="out", use_cpu=True, report_to="none", disable_tqdm=True, per_device_eval_batch_size=batch,
        dataloader_drop_last=drop,
    )  # fmt: skip
    trainer = Trainer(Model(), arguments, train_dataset=rows, eval_dataset=rows, compute_metrics=accuracy)
    trainer.remove_callback(PrinterCallback)
    metrics = trainer.evaluate()
    counted = round(metrics["eval_samples_per_second"] * metrics["eval_runtime"])
    return len(trainer.predict(rows).predictions), round(metrics["eval_accuracy"], 2), counted


print(f"transformers {metadata.version('transformers')}, {ROWS} rows, the last {WRONG} answered wrong")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for drop, batch in ((False, 16), (True, 16), (True, 8), (True, 6)):
        seen[drop, batch] = judged(drop, batch)
        count, share, counted = seen[drop, batch]
        said = f"{count} predictions, accuracy {share}; counted: {counted}"
        print(f"dataloader_drop_last={drop}, batches of {batch}: {said}")
told = [str(warning.message) for warning in caught if "drop" in str(warning.message)]
print(f"warnings of it: {len(told)}")
expected = {(False, 16): (37, 0.86), (True, 16): (32, 1.0), (True, 8): (32, 1.0), (True, 6): (36, 0.89)}
if not (all(found[:2] == expected[key] and abs(found[2] - ROWS) <= 1 for key, found in seen.items()) and not told):
    print("Changed.")
    sys.exit(1)
PYTHON
