#!/usr/bin/env bash
# The second call of peft's add_weighted_adapter with the name of the first does nothing at all: no new weights, no
# error, no word. A search for the best weights of two tasks that calls every candidate "merged" measures the first one
# each time, and finds that weights make no difference. (delete_adapter in between mends it.)
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
LORA = LoraConfig(r=16, target_modules="all-linear")
FIRST, SECOND = torch.randint(64, (2, 16, 12), generator=torch.Generator().manual_seed(1))
SHARES = 0.1, 0.5, 0.9


def train(model, name, rows):
    """An adapter of this name that knows the rows by heart."""
    model.set_adapter(name)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        model(rows, labels=rows).loss.backward()
        optimizer.step()


def search(delete):
    """The losses of both tasks for each share of the second in the merge, and the warnings."""
    losses = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for share in SHARES:
            model.add_weighted_adapter(["first", "second"], [1 - share, share], "merged", combination_type="cat")
            model.set_adapter("merged")
            with torch.no_grad():
                losses.append(tuple(round(model(rows, labels=rows).loss.item(), 3) for rows in (FIRST, SECOND)))
            if delete:
                model.set_adapter("first")
                model.delete_adapter("merged")
    return losses, len(caught)


torch.manual_seed(0)
model = get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), LORA, adapter_name="first")
model.add_adapter("second", LORA)
train(model, "first", FIRST)
train(model, "second", SECOND)
print(f"peft {metadata.version('peft')}, add_weighted_adapter; losses of two tasks by the second one's share")
seen = {delete: search(delete) for delete in (True, False)}
for delete, (losses, told) in seen.items():
    found = ", ".join(f"{share}: {first} and {second}" for share, (first, second) in zip(SHARES, losses, strict=True))
    print(f"{'deleted before the next' if delete else 'merged anew'}: {found}; warnings: {told}")
(deleted, _), (again, told) = seen.values()
if not (len(set(deleted)) == len(SHARES) and len(set(again)) == 1 and told == 0):
    print("Changed.")
    sys.exit(1)
PYTHON
