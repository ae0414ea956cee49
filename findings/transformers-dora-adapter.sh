#!/usr/bin/env bash
# A DoRA adapter that peft has saved is another adapter when transformers loads it: from_pretrained of its folder, which
# is how evaluations load one, and load_adapter look for the learned lengths under another name than they have in the
# file, and compute them anew from the base. A table in the log calls them unexpected and missing, at a level that many
# scripts turn off. PeftModel.from_pretrained reads the same folder as it was saved; LoRA alone is read by all three.
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
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()
SIZES = dict(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
ROWS = torch.randint(64, (16, 12), generator=torch.Generator().manual_seed(1))
torch.manual_seed(0)
LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained("base")


def right(model):
    """How many of the rows' tokens a model gives, each after those before it."""
    with torch.no_grad():
        guesses = model.eval()(ROWS).logits[:, :-1].argmax(-1)
    return (guesses == ROWS[:, 1:]).float().mean().item()


def read(**kind):
    """What an adapter has learned of the rows by heart, and what is left of it for each way to load it."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained("base")
    model = get_peft_model(base, LoraConfig(r=16, target_modules="all-linear", **kind))
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        model(ROWS, labels=ROWS).loss.backward()
        optimizer.step()
    folder = f"adapter-{len(kind)}"
    model.save_pretrained(folder)
    added = AutoModelForCausalLM.from_pretrained("base")
    added.load_adapter(folder)
    return {
        "trained": right(model),
        "PeftModel.from_pretrained": right(
            PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("base"), folder)
        ),
        "load_adapter": right(added),
        "from_pretrained of its folder": right(AutoModelForCausalLM.from_pretrained(folder)),
    }


print(f"transformers {metadata.version('transformers')}, peft {metadata.version('peft')}; tokens known by heart")
seen = {"LoRA": read(), "DoRA": read(use_dora=True)}
for name, ways in seen.items():
    print(f"{name}: " + ", ".join(f"{way} {share:.0%}" for way, share in ways.items()))
lora, dora = ([round(share, 3) for share in ways.values()] for ways in seen.values())
if not (len(set(lora)) == 1 and dora[0] == dora[1] > 0.9 and dora[2] == dora[3] < 0.7):
    print("Changed.")
    sys.exit(1)
PYTHON
