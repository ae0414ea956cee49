#!/usr/bin/env bash
# peft's load_adapter under the name of an adapter that is there takes the new folder's weights, and keeps the first
# one's settings: its lora_alpha, its use_rslora. A loop that looks at all checkpoints of a sweep in one model so
# measures each but the first at a strength that it was not trained at: here three adapters that know their rows by
# heart, and two of them seem not to have learned. The answer is "All keys matched successfully"; nothing is warned of.
# (delete_adapter in between, or another name each time, mends it.)
# Exits with 0 while that is so. Takes about 1.3 GB and the package index; Holdfast has no part in it.
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
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = dict(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
SIZES |= dict(initializer_range=0.1)  # answers as sharp as those of a trained model
ROWS = torch.randint(64, (16, 12), generator=torch.Generator().manual_seed(1))
SWEEP = {
    "alpha 8": dict(lora_alpha=8),
    "alpha 32": dict(lora_alpha=32),
    "rslora": dict(lora_alpha=16, use_rslora=True),
}


def base():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES))


def loss(model):
    model.eval()
    with torch.no_grad():
        return round(model(ROWS, labels=ROWS).loss.item(), 3)


def train(folder, settings):
    model = get_peft_model(base(), LoraConfig(r=16, target_modules="all-linear", **settings))
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=5e-3)
    for _ in range(300):
        optimizer.zero_grad()
        model(ROWS, labels=ROWS).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)


warnings.simplefilter("ignore")
for name, settings in SWEEP.items():
    train(name, settings)
print(f"peft {metadata.version('peft')}; each adapter's loss on its rows in a sweep, {loss(base())} without any")
alone = {name: loss(PeftModel.from_pretrained(base(), name)) for name in SWEEP}
print(f"each in a model of its own: {alone}")
model, looked_at, told = PeftModel.from_pretrained(base(), "alpha 8"), {}, []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name in SWEEP:
        told.append(str(model.load_adapter(name, "default")))
        looked_at[name] = loss(model)
caught = [warning for warning in caught if "adapter" in str(warning.message).lower()]
print(f"in one model, load_adapter(folder, 'default') for each: {looked_at}")
print(f"said of them: {', '.join(sorted(set(told)))}; warnings: {len(caught)}")
good = all(value < 0.5 for value in alone.values()) and looked_at["alpha 8"] == alone["alpha 8"]
spoilt = all(looked_at[name] > alone[name] + 1 for name in ("alpha 32", "rslora"))
if not (good and spoilt and set(told) == {"<All keys matched successfully>"} and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
