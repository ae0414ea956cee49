#!/usr/bin/env bash
# unload() of peft 0.21.2, which by its documentation gives the base model back by taking all modules of PEFT out,
# leaves what modules_to_save has trained: a base model with the task's head. A base that is measured after unload()
# instead of within disable_adapter(), where it is right, knows the task (a loss of 1.14, before it 4.17), and a second
# task that is begun from it begins with the first one's head.
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

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
ids = torch.randint(64, (8, 12), generator=torch.Generator().manual_seed(0))


def measured(**saved):
    """The loss on the task: before, with the adapter, with it disabled, after unload(); how far the last two are."""
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(**SIZES))
    before = base(ids, labels=ids).loss
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], **saved))
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
    with torch.no_grad():
        trained = model(ids, labels=ids).loss
        with model.disable_adapter():
            disabled = model(ids, labels=ids).loss
        unloaded = model.unload()(ids, labels=ids).loss
    return [loss.item() for loss in (before, trained, disabled, unloaded)]


print(f"peft {metadata.version('peft')}, the loss on a task of the base, before and after the adapter is taken out")
print("Expected: within disable_adapter() and after unload() as before.")
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    plain, head = measured(), measured(modules_to_save=["lm_head"])
for name, losses in (("LoRA alone", plain), ("with modules_to_save", head)):
    print(f"{name}: before %.2f, with the adapter %.2f, disabled %.2f, unloaded %.2f" % tuple(losses))
told = [str(warning.message) for warning in told if issubclass(warning.category, UserWarning)]
if not (
    plain[2] == plain[0]
    and plain[3] == plain[0]
    and head[2] == head[0]
    and abs(head[3] - head[0]) > 0.5
    and not told
):
    print("Changed.")
    sys.exit(1)
PYTHON
