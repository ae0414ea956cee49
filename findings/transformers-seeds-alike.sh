#!/usr/bin/env bash
# Three runs of transformers' Trainer after set_seed(1), set_seed(2) and set_seed(3) end with the same weights, to the
# last bit: Trainer sets the seed anew when it is made, to the 42 that its arguments have unless they say another, and
# a checkpoint has nothing left to draw before that. The interval over such seeds has a width of 0. TRL's trainers are
# made from it. With seed= in the arguments the three differ.
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
import contextlib
import importlib.metadata as metadata
import io
import sys

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()
SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
ROWS = torch.randint(64, (256, 12), generator=torch.Generator().manual_seed(1)).tolist()
TRAIN = Dataset.from_dict({"input_ids": ROWS, "labels": ROWS})
LlamaForCausalLM(LlamaConfig(**SIZES, attention_dropout=0.1)).save_pretrained("checkpoint")


def trained(before, **settings):
    """All weights after an epoch, and the mean loss on the way, with a seed that is set before."""
    set_seed(before)
    model = LlamaForCausalLM.from_pretrained("checkpoint")
    arguments = TrainingArguments(
        output_dir="out", num_train_epochs=1, per_device_train_batch_size=8, learning_rate=1e-3, use_cpu=True,
        bf16=False, report_to="none", save_strategy="no", disable_tqdm=True, **settings,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=TRAIN)
    with contextlib.redirect_stdout(io.StringIO()):
        loss = trainer.train().training_loss
    return torch.cat([weight.detach().flatten() for weight in model.parameters()]), loss


print(f"transformers {metadata.version('transformers')}, Trainer: an epoch over 256 rows, dropout of 0.1, shuffled")
alike = {}
for name in ("set_seed(seed)", "set_seed(seed), seed=seed in the arguments"):
    runs = [trained(seed, **({"seed": seed} if "arguments" in name else {})) for seed in (1, 2, 3)]
    alike[name] = [torch.equal(runs[0][0], weights) for weights, _ in runs[1:]]
    print(f"{name}: losses {[round(loss, 6) for _, loss in runs]}; weights as with the first seed: {alike[name]}")
if list(alike.values()) != [[True, True], [False, False]]:
    print("Changed.")
    sys.exit(1)
PYTHON
