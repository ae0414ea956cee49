#!/usr/bin/env bash
# In peft each row of a batch may name its adapter (adapter_names=["first", "second", "__base__"]), for several tasks in
# one batch. LoRA does so; with IA3, VeRA, LoHa, LoKr, OFT, BOFT, HRA and MiSS the names are taken and nothing is done
# with them: all rows get the adapter that is active, those of the other task as those of the base, and what is measured
# of a second task, or of the base, is the first task's adapter. Nothing is said of it, where LoRA with DoRA says that it
# cannot. (LoRA's guide describes the names; that other methods take them and do nothing stands nowhere.)
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
from peft import (
    BOFTConfig,
    HRAConfig,
    IA3Config,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    MissConfig,
    OFTConfig,
    VeraConfig,
    get_peft_model,
)
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = dict(vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
LAYERS = ["q_proj", "v_proj", "o_proj"]
KINDS = {
    "LoRA": LoraConfig(r=8, target_modules=LAYERS),
    "IA3": IA3Config(target_modules=LAYERS, feedforward_modules=[]),
    "VeRA": VeraConfig(r=8, target_modules=LAYERS),
    "LoHa": LoHaConfig(r=8, target_modules=LAYERS),
    "LoKr": LoKrConfig(r=8, target_modules=LAYERS),
    "OFT": OFTConfig(r=4, oft_block_size=0, target_modules=LAYERS),
    "BOFT": BOFTConfig(boft_block_num=4, boft_block_size=0, target_modules=LAYERS),
    "HRA": HRAConfig(r=8, target_modules=LAYERS),
    "MiSS": MissConfig(r=8, target_modules=LAYERS),
}
starts = torch.arange(64)[:, None]
TASKS = {"first": (starts + 5 * torch.arange(12)) % 64, "second": (starts + 11 * torch.arange(12)) % 64}
NAMES = "first", "second", "__base__"


def logits(model, rows, **given):
    with torch.no_grad():
        return model(input_ids=rows, **given).logits


def alike(config):
    """Each row of a batch: whether it got what it named and whether it got the active adapter; and any warning."""
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(**SIZES, bos_token_id=None, eos_token_id=None, pad_token_id=None))
    rows = TASKS["first"][:1]
    alone = {"__base__": logits(base.eval(), rows)}
    model = get_peft_model(base, config, adapter_name="first")
    model.add_adapter("second", config)
    for name, task in TASKS.items():
        model.set_adapter(name)
        model.train()
        optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
        for _ in range(20):
            optimizer.zero_grad()
            model(input_ids=task, labels=task).loss.backward()
            optimizer.step()
        alone[name] = logits(model.eval(), rows)
    model.set_adapter("first")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        batch = logits(model, rows.repeat(3, 1), adapter_names=list(NAMES))
    named = [torch.allclose(row, alone[name][0], atol=1e-4) for row, name in zip(batch, NAMES, strict=True)]
    active = [torch.allclose(row, alone["first"][0], atol=1e-4) for row in batch]
    return named, active, any("adapter" in str(warning.message) for warning in caught)


print(f"peft {metadata.version('peft')}, a batch whose rows name {', '.join(NAMES)}; active is first")
seen = {}
for kind, config in KINDS.items():
    named, active, told = seen[kind] = alike(config)
    right = [name for name, got in zip(NAMES, named, strict=True) if got]
    print(f"{kind}: right are {', '.join(right)}; rows that got the first one's: {sum(active)}; told: {told}")
if any(
    (named, active) != (([True] * 3, [True, False, False]) if kind == "LoRA" else ([True, False, False], [True] * 3))
    or told
    for kind, (named, active, told) in seen.items()
):
    print("Changed.")
    sys.exit(1)
PYTHON
