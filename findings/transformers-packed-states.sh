#!/usr/bin/env bash
# Three examples in one row, as DataCollatorWithFlattening lays them, positions from 0 in each, without a cache. A Llama
# keeps them apart: the second has the logits that it has alone. A Qwen3.5 and an LFM2 do not: their layers with a state (a
# recurrence, a convolution) go on from the example before, with no word, and its loss is another. With
# return_flash_attn_kwargs, Qwen3.5 refuses the same row for want of a package, and LFM2 still mixes.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "transformers==$TRANSFORMERS"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from transformers import (
    DataCollatorWithFlattening, Lfm2Config, Lfm2ForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
)

sizes = dict(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2,
)
states = dict(linear_key_head_dim=8, linear_value_head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4)
torch.manual_seed(0)
models = {
    "Llama": LlamaForCausalLM(LlamaConfig(**sizes)),
    "Qwen3.5": Qwen3_5ForCausalLM(
        Qwen3_5TextConfig(**sizes, **states, head_dim=16, layer_types=["linear_attention", "full_attention"])
    ),
    "LFM2": Lfm2ForCausalLM(Lfm2Config(**sizes, layer_types=["conv", "full_attention"])),
}
rows = [{"input_ids": torch.randint(0, 64, (12,)).tolist()} for _ in range(3)]
second = torch.tensor([rows[1]["input_ids"]])

print(f"transformers {version('transformers')}, torch {version('torch')}")
seen = []
for told in (False, True):
    collate = DataCollatorWithFlattening(return_flash_attn_kwargs=told, return_tensors="pt")
    for name, model in models.items():
        batch = {key: value for key, value in collate(rows).items() if key != "labels"}
        with torch.no_grad():
            alone = model(input_ids=second, use_cache=False).logits[0]
            try:
                packed = model(**batch, use_cache=False).logits[0, 12:24]
            except ValueError as error:
                seen.append("refused")
                print(f"{name}, told of the bounds: refused ({error})")
                continue
        off = float((packed - alone).abs().max())
        seen.append("mixed" if off > 0.1 else "apart")
        print(f"{name}{', told of the bounds' * told}: logits of the second example are off by {off:.2g}")
if seen != ["apart", "mixed", "mixed", "apart", "refused", "mixed"]:
    sys.exit("Changed.")
PYTHON
