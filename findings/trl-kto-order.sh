#!/usr/bin/env bash
# KTO takes pairs of a good and a bad answer and makes two rows of each, but lays down all good answers of up to 1,000
# pairs and then all bad ones, and KTOTrainer takes rows in the order given, in every epoch. So of 64 pairs the first 8
# steps see good answers only and the last 8 bad ones only. With the usual learning rate, which falls to 0, good answers
# get 2.8 times the rate of bad ones, though the weights of both are 1; the log-probability of good answers rises by
# 0.87 and that of bad ones falls by 0.13, where the same rows, shuffled before, give 0.49 and 0.58. Margin and
# accuracy, which need both kinds in a step, are never logged. That KTO goes through rows in order is told with its
# settings, the order that it makes of pairs is not; unpair_preference_dataset, TRL's way for pictures, gives it, too.
# Exits with 0 while that is so. Takes about 1.4 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRL=1.16.0 TRANSFORMERS=5.24.0 DATASETS=5.2.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "transformers==$TRANSFORMERS" "datasets==$DATASETS" "trl==$TRL"

cd "$folder" # nothing of a checkout is imported
cat >run.py <<'PYTHON'
import contextlib
import copy
import importlib.metadata as metadata
import io
import sys

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging
from trl import KTOConfig, KTOTrainer
from trl.data_utils import unpair_preference_dataset

logging.disable_progress_bar()
words = ["<pad>", "<end>", *(f"word{i}" for i in range(62))]
splitter = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="word0"))
splitter.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitter, pad_token="<pad>", eos_token="<end>")
sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
generator = torch.Generator().manual_seed(0)


def text(count):
    return "".join(f" word{i}" for i in torch.randint(62, (count,), generator=generator).tolist())


class Watched(KTOTrainer):
    def training_step(self, model, inputs, *rest, **others):
        rate = self.optimizer.param_groups[0]["lr"]
        self.steps.append((inputs["label"].float().mean().item(), rate))
        return super().training_step(model, inputs, *rest, **others)


def likelihood(model, rows, answer):
    """The mean log-probability of the answers to the rows' prompts."""
    total = 0.0
    for row in rows:
        prompt, ids = (tokenizer(part, return_tensors="pt").input_ids for part in (row["prompt"], row[answer]))
        with torch.no_grad():
            logits = model(torch.cat((prompt, ids), dim=1)).logits[:, prompt.shape[1] - 1 : -1]
        total += logits.log_softmax(-1).gather(-1, ids[..., None]).sum().item()
    return total / len(rows)


def train(rows):
    """Share of good answers in each step, ratio of the rates, whether margins are logged, and how answers moved."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=None, eos_token_id=1, pad_token_id=0))
    reference = copy.deepcopy(model).eval()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer = Watched(
            model, copy.deepcopy(model), train_dataset=rows, processing_class=tokenizer, args=KTOConfig(
                output_dir="out", num_train_epochs=1, save_strategy="no", report_to="none", use_cpu=True, bf16=False,
                per_device_train_batch_size=8, logging_steps=1, learning_rate=2e-3,
            ),
        )  # fmt: skip
        trainer.steps = []
        trainer.train()
    logged = {name for entry in trainer.state.log_history for name in entry}
    reference, model = reference.to("cpu"), model.eval()
    moved = [likelihood(model, pairs, kind) - likelihood(reference, pairs, kind) for kind in ("chosen", "rejected")]
    shares = [share for share, _ in trainer.steps]
    good = sum(share * rate for share, rate in trainer.steps)
    bad = sum((1 - share) * rate for share, rate in trainer.steps)
    return shares, good / bad, "rewards/margins" in logged, moved


pairs = Dataset.from_list([dict(prompt=text(6), chosen=text(8), rejected=text(8)) for _ in range(64)])
unpaired = unpair_preference_dataset(pairs)
print(", ".join(f"{name} {metadata.version(name)}" for name in ("trl", "transformers")))
seen = {}
for name, rows in {"pairs": pairs, "unpaired": unpaired, "unpaired, shuffled": unpaired.shuffle(seed=0)}.items():
    shares, ratio, margins, moved = seen[name] = train(rows)
    print(f"{name}: the share of good answers in each step is {shares}")
    print(f"  their rate {ratio:.1f} times that of bad ones; margins logged: {margins}; ", end="")
    print(f"log-probability of good answers {moved[0]:+.2f}, of bad ones {moved[1]:+.2f}")
for name in ("pairs", "unpaired"):
    shares, ratio, margins, _ = seen[name]
    if shares != [1.0] * 8 + [0.0] * 8 or not 2.5 < ratio < 3.5 or margins:
        sys.exit("Changed.")
shares, ratio, margins, _ = seen["unpaired, shuffled"]
if not (all(0 < share < 1 for share in shares) and ratio < 1.5 and margins):
    sys.exit("Changed.")
PYTHON
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore run.py
