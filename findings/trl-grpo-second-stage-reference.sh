#!/usr/bin/env bash
# The reference of TRL's GRPO is not the model that it is given, but what lies in the folder that model was once loaded
# from: handed on in memory from a first task to a second, it is held to the base, and the penalty pulls it back to
# before the first task from the first step on. Saved and loaded in between, the same weights are their own reference.
# Exits with 0 while that is so. Takes about 1.5 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRL=1.16.0 TRANSFORMERS=5.23.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "transformers==$TRANSFORMERS" "trl==$TRL"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import contextlib
import importlib.metadata as metadata
import io
import sys

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

logging.disable_progress_bar()
words = ["<pad>", "<end>", *(f"word{i}" for i in range(62))]
splitter = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="word0"))
splitter.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitter, pad_token="<pad>", eos_token="<end>")
sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
torch.manual_seed(0)
LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=None, eos_token_id=1, pad_token_id=0)).save_pretrained("base")


def train(model, word, steps):
    """The model after GRPO towards a word, and the KL divergence from the reference at the first step."""

    def reward(completions, **_):
        return [float(completion.split().count(word)) for completion in completions]

    arguments = GRPOConfig(
        output_dir="out", max_steps=steps, save_strategy="no", report_to="none", use_cpu=True, bf16=False,
        per_device_train_batch_size=8, num_generations=8, max_completion_length=16, beta=0.04, logging_steps=1,
        learning_rate=1e-2,
    )  # fmt: skip
    rows = Dataset.from_dict({"prompt": ["word1 word2 word3"] * 32})
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer = GRPOTrainer(
            model, reward_funcs=reward, args=arguments, train_dataset=rows, processing_class=tokenizer
        )
        trainer.train()
    return trainer.model, trainer.state.log_history[0]["kl"]


print(f"trl {metadata.version('trl')}, transformers {metadata.version('transformers')}, GRPO with beta=0.04")
model, first = train(LlamaForCausalLM.from_pretrained("base"), "word7", steps=20)
model.save_pretrained("after-first")
_, from_folder = train(LlamaForCausalLM.from_pretrained("after-first"), "word9", steps=1)
_, handed_on = train(model, "word9", steps=1)
print("KL divergence from the reference at the first step, before any update:")
print(f"first task {first:.4f}; second task, loaded from a folder {from_folder:.4f}, handed on {handed_on:.4f}")
if not (abs(first) < 1e-4 and abs(from_folder) < 1e-4 and handed_on > 0.1):
    print("Changed.")
    sys.exit(1)
PYTHON
