#!/usr/bin/env bash
# TRL's GRPO draws its completions in training mode: with a dropout in LoRA (or in the model) every completion of a
# group comes from another random part of the policy, the greedy ones too, and the log-probabilities of the loss from
# yet another. Eight greedy completions of one prompt are eight different ones. (disable_dropout is not the default.)
# Exits with 0 while that is so. Takes about 1.5 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRL=1.16.0 TRANSFORMERS=5.23.0 PEFT=0.21.2 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "transformers==$TRANSFORMERS" "peft==$PEFT" "trl==$TRL"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import contextlib
import importlib.metadata as metadata
import io
import sys

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

logging.disable_progress_bar()
words = ["<pad>", "<end>", *(f"word{i}" for i in range(62))]
splitter = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="word0"))
splitter.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitter, pad_token="<pad>", eos_token="<end>")
sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)


def group(dropout):
    """Eight completions of one prompt, each token the likeliest, as GRPO's first step draws them."""
    seen = []

    def reward(completions, **_):
        seen.extend(completions)
        return [1.0] * len(completions)

    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer = GRPOTrainer(
            LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=None, eos_token_id=1, pad_token_id=0)),
            reward_funcs=reward,
            args=GRPOConfig(
                output_dir="out", max_steps=1, save_strategy="no", report_to="none", use_cpu=True, bf16=False,
                per_device_train_batch_size=8, num_generations=8, max_completion_length=8,
                generation_kwargs={"do_sample": False},
            ),
            train_dataset=Dataset.from_dict({"prompt": ["word1 word2 word3"] * 8}),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=4, lora_dropout=dropout, target_modules="all-linear"),
        )
        for name, weight in trainer.model.named_parameters():
            if "lora_B" in name:  # zeros at first; as if it had been trained for a while
                torch.nn.init.normal_(weight.data, std=0.5)
        trainer.train()
    return len(set(seen))


versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("trl", "peft", "transformers"))
print(f"{versions}; eight greedy completions of one prompt in a step of GRPO")
distinct = {dropout: group(dropout) for dropout in (0.0, 0.1)}
for dropout, count in distinct.items():
    print(f"lora_dropout={dropout}: {count} different")
if not (distinct[0.0] == 1 and distinct[0.1] > 4):
    print("Changed.")
    sys.exit(1)
PYTHON
