#!/usr/bin/env bash
# train_sampling_strategy="group_by_length", the sampler for training by its name and its documentation, is the sampler
# of Trainer.predict and evaluate, too: predictions come in another order than the rows that were given, and the output
# does not say in which. A model that answers every row right is right on 2 of 40 when its predictions are laid beside
# the rows, as one does to see which answers are forgotten. The metrics are right, for the labels come in that order.
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

import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()
lengths = torch.randint(2, 30, (40,), generator=torch.Generator().manual_seed(0)).tolist()
rows = [{"input_ids": [100 + number] * length, "labels": number} for number, length in enumerate(lengths)]


class Right(torch.nn.Module):
    """Knows each row's answer, which stands in the row."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, input_ids, labels=None):
        return {"loss": self.weight, "logits": input_ids[:, :1] - 100}


def batch(rows):
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    return {"input_ids": padded, "labels": torch.tensor([row["labels"] for row in rows])}


def right(strategy):
    """How many predictions are right by the labels beside them, and by the rows that were given, in their order."""
    arguments = TrainingArguments(
        output_dir="out", use_cpu=True, report_to="none", disable_tqdm=True, per_device_eval_batch_size=4,
        train_sampling_strategy=strategy,
    )  # fmt: skip
    output = Trainer(Right(), arguments, data_collator=batch).predict(Dataset.from_list(rows))
    predictions = output.predictions[:, 0]
    by_rows = sum(int(answer == row["labels"]) for answer, row in zip(predictions, rows, strict=True))
    return int((predictions == output.label_ids).sum()), by_rows


print(f"transformers {metadata.version('transformers')}, Trainer.predict of a model that is always right on 40 rows")
print("Expected: the predictions in the order of the rows, however the training draws its batches.")
seen = {strategy: right(strategy) for strategy in ("random", "group_by_length")}
for strategy, (by_labels, by_rows) in seen.items():
    print(f"train_sampling_strategy={strategy}: right by the labels returned {by_labels}, beside the rows {by_rows}")
if not (seen["random"] == (40, 40) and seen["group_by_length"][0] == 40 and seen["group_by_length"][1] < 10):
    print("Changed.")
    sys.exit(1)
PYTHON
