#!/usr/bin/env bash
# The reference of TRL's GRPO, where LoRA is given as peft_config, is the model with the adapter switched off, and with
# PiSSA or OLoRA (init_lora_weights) that is not the base: both have moved a part of its weights into the adapter.
# Before anything is learned the KL divergence is 0.8 or 1.1 nats a token instead of 0, and the penalty beta pulls the
# policy to a model that never was. With LoRA's own start, or if get_peft_model is called first, it is 0.
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
from peft import LoraConfig, get_peft_model
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


def first_divergence(start, wrapped):
    """The KL divergence to the reference, in nats a token, of GRPO's first step: of the policy as it was given."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=None, eos_token_id=1, pad_token_id=0))
    for weight in model.parameters():
        if weight.ndim > 1:  # as decided as a trained model is
            torch.nn.init.normal_(weight.data, std=0.2)
    lora = LoraConfig(r=8, target_modules="all-linear", init_lora_weights=start)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer = GRPOTrainer(
            get_peft_model(model, lora) if wrapped else model,
            reward_funcs=lambda completions, **_: [float(len(text) % 2) for text in completions],
            args=GRPOConfig(
                output_dir="out", max_steps=1, save_strategy="no", report_to="none", use_cpu=True, bf16=False,
                per_device_train_batch_size=8, num_generations=8, max_completion_length=16, beta=0.04,
                logging_steps=1,
            ),
            train_dataset=Dataset.from_dict({"prompt": ["word1 word2 word3"] * 8}),
            processing_class=tokenizer,
            peft_config=None if wrapped else lora,
        )  # fmt: skip
        trainer.train()
    return next(entry["kl"] for entry in trainer.state.log_history if "kl" in entry)


versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("trl", "peft", "transformers"))
print(f"{versions}; the KL divergence in GRPO's first step, before anything is learned")
print("Expected: 0, for the reference is the model that was given.")
seen = {}
for start in (True, "pissa", "olora"):
    seen[start] = first_divergence(start, wrapped=False), first_divergence(start, wrapped=True)
    print(f"init_lora_weights={start}: with peft_config {seen[start][0]:.3f}, with get_peft_model {seen[start][1]:.3f}")
if not (
    seen[True][0] < 1e-6
    and min(seen["pissa"][0], seen["olora"][0]) > 0.3
    and max(values[1] for values in seen.values()) < 1e-5
):
    print("Changed.")
    sys.exit(1)
PYTHON
