#!/usr/bin/env bash
# TRL's DPO with precompute_ref_log_probs keeps the reference's log-probabilities on disk, under the data and the
# model's weights alone. What else they depend on is not in the name: ld_alpha (how much counts of what one answer is
# longer than the other) and, under keep_end, max_length. So the second setting of an ablation is trained against the
# reference of the first, in another process, too: with an ld_alpha of 0.5 after a run without, the loss begins at 0.17
# instead of ln 2 = 0.69, and every preference counts as learned before the first step.
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
import importlib.metadata as metadata
import io
import json
import sys

import torch
from datasets import load_dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging
from trl import DPOConfig, DPOTrainer

logging.disable_progress_bar()
words = ["<pad>", "<end>", *(f"word{i}" for i in range(62))]
splitter = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="word0"))
splitter.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitter, pad_token="<pad>", eos_token="<end>")
sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
SETTINGS = {
    "ld_alpha=None": dict(max_length=None),
    "ld_alpha=0.5": dict(max_length=None, ld_alpha=0.5),
    "max_length=10, keep_end": dict(max_length=10, truncation_mode="keep_end"),
}


def text(count):
    return "".join(f" word{i}" for i in torch.randint(62, (count,), generator=generator).tolist())


def first_step(settings, cache):
    """Loss, margin and accuracy of the rewards in the first step, when nothing is learned yet."""
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer = DPOTrainer(
            LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=None, eos_token_id=1, pad_token_id=0)),
            args=DPOConfig(
                output_dir="out", max_steps=1, save_strategy="no", report_to="none", use_cpu=True, bf16=False,
                per_device_train_batch_size=16, logging_steps=1, precompute_ref_log_probs=True, **settings,
            ),
            train_dataset=load_dataset("json", data_files="preferences.json", split="train", cache_dir=cache),
            processing_class=tokenizer,
        )
        trainer.train()
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    return [round(entry[name], 2) for name in ("loss", "rewards/margins", "rewards/accuracies")]


generator = torch.Generator().manual_seed(0)
rows = [dict(prompt=text(6), chosen=text(12), rejected=text(4)) for _ in range(16)]
if sys.argv[1] == "first":
    json.dump(rows, open("preferences.json", "w"))
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("trl", "transformers"))
    print(f"{versions}; loss, and margin and accuracy of the rewards, in DPO's first step")
    alone = {name: first_step(settings, f"cache of {name}") for name, settings in SETTINGS.items()}
    print(f"each setting with a cache of its own: {alone}")
    unlearned = all(loss == 0.69 and margin == 0 for loss, margin, _ in alone.values())
    first_step(SETTINGS["ld_alpha=None"], "cache")
    sys.exit(0 if unlearned else "Changed.")
shared = {name: first_step(settings, "cache") for name, settings in SETTINGS.items()}
print(f"with one cache, in another process: {shared}")
others = [shared[name] for name in list(SETTINGS)[1:]]
if not (shared["ld_alpha=None"][0] == 0.69 and all(loss < 0.3 and right == 1 for loss, _, right in others)):
    sys.exit("Changed.")
PYTHON
for turn in first second; do
    HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error \
        "$python" -W ignore run.py "$turn"
done
