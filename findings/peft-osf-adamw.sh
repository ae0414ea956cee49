#!/usr/bin/env bash
# OSF of peft, made for one task after another, freezes a weight's largest singular directions and takes from each
# gradient what lies in them, so that what they do is kept. With AdamW, what Trainer uses, the weights move in them all
# the same: it divides each number of the gradient by a size of its own, and what is left is no longer beside them. On
# inputs from the frozen directions alone the layer's output has moved by a fifth as much as on any, with SGD by
# nothing. Nothing is said of it.
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
from peft import OSFConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = dict(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
KEPT, STEPS = 32, 100  # frozen directions, of 64
ROWS = torch.randint(64, (16, 12), generator=torch.Generator().manual_seed(1))


def moved(make):
    """The loss, and how far the layer's outputs moved on inputs from the frozen directions, by how far on any."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    before = model.model.layers[0].self_attn.q_proj.weight.detach().clone()
    frozen = torch.linalg.svd(before).Vh[:KEPT].T
    model = get_peft_model(model, OSFConfig(target_modules="all-linear", effective_rank=KEPT))
    optimizer = make([weight for weight in model.parameters() if weight.requires_grad])
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = model(ROWS, labels=ROWS).loss
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        change = model.merge_and_unload().model.layers[0].self_attn.q_proj.weight - before
    # of inputs of one length: the mean square of what the change makes of them
    kept, whole = (change @ frozen).square().sum() / KEPT, change.square().sum() / change.shape[1]
    return loss.item(), (change.norm() / before.norm()).item(), (kept / whole).sqrt().item()


OPTIMIZERS = {
    "SGD": lambda weights: torch.optim.SGD(weights, lr=0.3),
    "AdamW, rate 1e-4": lambda weights: torch.optim.AdamW(weights, lr=1e-4, weight_decay=0.0),
    "AdamW, rate 1e-3": lambda weights: torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.0),
}
print(f"peft {metadata.version('peft')}, OSF with {KEPT} of 64 directions frozen, {STEPS} steps")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, make in OPTIMIZERS.items():
        loss, much, seen[name] = moved(make)
        print(f"{name}: loss {loss:.2f}, weights moved by {much:.1%}; in the frozen directions {seen[name]:.2%} of that")
told = [str(warning.message) for warning in caught if "osf" in str(warning.message).lower()]
print(f"warnings of it: {len(told)}")
sgd, *adamw = seen.values()
if not (sgd < 0.001 and min(adamw) > 0.1 and not told):
    print("Changed.")
    sys.exit(1)
PYTHON
