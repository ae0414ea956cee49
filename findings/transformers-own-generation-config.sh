#!/usr/bin/env bash
# generate(generation_config=GenerationConfig(do_sample=False)) is not greedy decoding: what a GenerationConfig of
# one's own leaves out, or sets to None, comes from the checkpoint's generation_config.json, above all its
# repetition_penalty (Qwen2.5-VL's has one), which greedy decoding obeys as sampling does. So do its ends.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "transformers==$TRANSFORMERS"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()
torch.manual_seed(0)
sizes = dict(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
config = LlamaConfig(**sizes, initializer_range=0.2, eos_token_id=None, pad_token_id=0)
LlamaForCausalLM(config).save_pretrained("model")
prompt = torch.tensor([[5, 6, 7]])


def reply(settings, **own):
    """What the checkpoint with these settings answers to a GenerationConfig of one's own."""
    GenerationConfig(**settings, pad_token_id=0).save_pretrained("model")
    model = LlamaForCausalLM.from_pretrained("model")
    config = GenerationConfig(do_sample=False, max_new_tokens=8, pad_token_id=0, **own)
    return model.generate(prompt, generation_config=config)[0, 3:].tolist()


likeliest = []  # token by token, without generate
model = LlamaForCausalLM.from_pretrained("model")
for _ in range(8):
    row = torch.cat([prompt, torch.tensor([likeliest], dtype=torch.long)], 1)
    likeliest.append(int(model(row).logits[0, -1].argmax()))
penalty, end = {"repetition_penalty": 1.3}, {"eos_token_id": likeliest[1]}
print(f"transformers {metadata.version('transformers')}; the likeliest tokens, one by one: {likeliest}")
replies = {
    "no settings in the checkpoint": reply({}),
    "penalty in the checkpoint": reply(penalty),
    "penalty, own repetition_penalty=None": reply(penalty, repetition_penalty=None),
    "penalty, own repetition_penalty=1.0": reply(penalty, repetition_penalty=1.0),
    "end in the checkpoint, own eos_token_id=None": reply(end, eos_token_id=None),
}
for name, tokens in replies.items():
    print(f"{name}: {tokens}")
plain, inherited, none, one, ended = replies.values()
if not (plain == one == likeliest and inherited == none != likeliest and len(ended) < len(likeliest)):
    print("Changed.")
    sys.exit(1)
PYTHON
