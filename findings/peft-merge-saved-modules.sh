#!/usr/bin/env bash
# peft's add_weighted_adapter merges the matrices of LoRA and nothing else that an adapter was trained with: of
# modules_to_save the merged adapter has the base's (an untrained head, say), and of DoRA the lengths are computed anew
# from the base. Of one adapter with a weight of 1, which should be that adapter, the answers are half others.
# The config of the merged adapter still names both, and nothing is said.
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
import warnings

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = dict(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
ROWS = torch.randint(64, (16, 12), generator=torch.Generator().manual_seed(1))


def right(model, name):
    """How many of the rows' tokens an adapter gives, each after those before it."""
    model.set_adapter(name)
    with torch.no_grad():
        guesses = model.eval()(ROWS).logits[:, :-1].argmax(-1)
    return (guesses == ROWS[:, 1:]).float().mean().item()


def learned(**kind):
    """What an adapter has learned of the rows by heart, its copy by a merge with a weight of 1, and the warnings."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    model = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", **kind), adapter_name="task")
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        model(ROWS, labels=ROWS).loss.backward()
        optimizer.step()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.add_weighted_adapter(["task"], [1.0], "merged")
    return right(model, "task"), right(model, "merged"), len(caught)


print(f"peft {metadata.version('peft')}, add_weighted_adapter of one adapter; tokens that it knows by heart")
KINDS = {}, {"modules_to_save": ["lm_head"]}, {"use_dora": True}
seen = [learned(**kind) for kind in KINDS]
for kind, (before, merged, told) in zip(KINDS, seen, strict=True):
    print(f"{kind or 'LoRA alone'}: {before:.0%}, merged {merged:.0%}; warnings: {told}")
plain, *others = seen
lost = all(before > 0.9 and merged < 0.7 and not told for before, merged, told in others)
if not (plain[0] == plain[1] > 0.9 and lost):
    print("Changed.")
    sys.exit(1)
PYTHON
