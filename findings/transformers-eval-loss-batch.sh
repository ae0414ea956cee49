#!/usr/bin/env bash
# Trainer.evaluate of transformers 5.23.0 gives the mean of its batches' losses, each weighted by its rows: in batches
# of one row every row counts alike, in larger ones a long answer counts more than a short one beside it. So eval_loss
# depends on per_device_eval_batch_size, for the same model and the same rows, and two models change places: with one
# row at a time the second is better (1.3, the first 3.3), with 8 or 32 the first (0.25, the second 0.5). What
# load_best_model_at_end keeps changes with it.
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
import random
import sys

import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()
SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
ASKED, WORDS = 5, range(10, 60)
SHORT = [[ASKED, word, 1] for word in list(WORDS)[:16]]  # one word, a different one each time, and the end
LONG = [[6, *WORDS, 1] for _ in range(16)]  # an explanation, always the same
ROWS = random.Random(1).sample(SHORT + LONG, 32)


def batch(rows):
    """The rows, padded to the longest; neither padding nor the first token, which asks, is learned."""
    longest = max(len(row["ids"]) for row in rows)
    ids = torch.tensor([row["ids"] + [0] * (longest - len(row["ids"])) for row in rows])
    labels = ids.masked_fill(ids == 0, -100)
    labels[:, 0] = -100
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}


def trainer(model, rows, **settings):
    arguments = TrainingArguments(
        output_dir="out", use_cpu=True, bf16=False, report_to="none", save_strategy="no", disable_tqdm=True,
        remove_unused_columns=False, **settings,
    )  # fmt: skip
    data = Dataset.from_dict({"ids": rows})
    return Trainer(model, arguments, train_dataset=data, eval_dataset=data, data_collator=batch)


def trained(rows, steps):
    set_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    with contextlib.redirect_stdout(io.StringIO()):
        trainer(model, rows, max_steps=steps, learning_rate=1e-2, per_device_train_batch_size=16).train()
    return model.eval()


def eval_loss(model, size):
    with contextlib.redirect_stdout(io.StringIO()):
        return trainer(model, ROWS, per_device_eval_batch_size=size).evaluate()["eval_loss"]


@torch.no_grad()
def loss_of_tokens(model):
    """The loss over all tokens that are answers."""
    inputs = batch([{"ids": row} for row in ROWS])
    labels = inputs.pop("labels")[:, 1:]
    return cross_entropy(model(**inputs).logits[:, :-1].transpose(1, 2), labels).item()


print(f"transformers {metadata.version('transformers')}; {len(SHORT)} rows of 2 answer tokens, {len(LONG)} of 51")
seen = {}
for name, rows, steps in (("first", LONG, 100), ("second", ROWS, 30)):
    model = trained(rows, steps)
    seen[name] = [eval_loss(model, size) for size in (1, 2, 8, 32)]
    print(f"The {name} model: eval_loss with batches of 1, 2, 8, 32 rows: {[round(x, 2) for x in seen[name]]}; ", end="")
    print(f"over all answer tokens {loss_of_tokens(model):.2f}")
    if not abs(seen[name][3] - loss_of_tokens(model)) < 1e-3:
        sys.exit("Changed.")
(first, *_, first_large), (second, *_, second_large) = seen.values()
if not (first > 2 * second and second_large > 1.5 * first_large):
    sys.exit("Changed.")
PYTHON
