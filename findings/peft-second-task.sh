#!/usr/bin/env bash
# An adapter for a second task, trained after the first one's was merged, names the checkpoint from before the first
# as its base: what AutoPeftModel loads from its folder is not what was saved, but the second task without the
# first. peft says nothing, neither at saving nor at loading.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 PEFT=0.21.2 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "transformers==$TRANSFORMERS" "peft==$PEFT"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()
torch.manual_seed(0)
sizes = dict(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained("base")
tokens = torch.arange(16)[None]


def learn(model):
    """The model with an adapter that changes it, as training would."""
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj", "down_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight.data)
    return adapted.eval()


@torch.no_grad()
def distance(one, other):
    return (one(tokens).logits - other(tokens).logits).abs().mean().item()


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    first = learn(LlamaForCausalLM.from_pretrained("base")).merge_and_unload()
    first.save_pretrained("after-first")
    second = learn(first)
    second.save_pretrained("second")
    loaded = AutoPeftModelForCausalLM.from_pretrained("second").eval()
told = [str(warning.message) for warning in caught if "base" in str(warning.message).lower()]
elsewhere = LlamaForCausalLM.from_pretrained("after-first")
elsewhere.load_adapter("second")
print(f"peft {metadata.version('peft')}, transformers {metadata.version('transformers')}")
print(f"The second adapter's base: {loaded.peft_config['default'].base_model_name_or_path}; warnings: {told or 'none'}")
away = distance(second, loaded), distance(second, elsewhere.eval())
print(f"Loaded by AutoPeftModel, logits are {away[0]:.4f} away from what was saved;")
print(f"loaded on the merged model by hand: {away[1]:.4f}.")
if not (away[0] > 1e-3 and away[1] < 1e-5 and not told):
    print("Changed.")
    sys.exit(1)
PYTHON
