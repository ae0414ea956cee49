#!/usr/bin/env bash
# peft's add_weighted_adapter makes rank-stabilised adapters (use_rslora) too strong: the scale is in the matrices of
# the merged adapter already, and is applied once more as the root of its rank. One adapter of rank 64, taken with a
# weight of 1, is eight times itself, as is the mean of two; "cat", whose rank is the sum's, makes it 11 times. Every
# kind of merge does so, without a word; without use_rslora the copy is a copy.
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

SIZES = dict(vocab_size=64, hidden_size=128, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2)


def times(weights, stabilised, **how):
    """How many times the weighted sum of equal adapters of rank 64 their merge is, and the warnings."""
    torch.manual_seed(0)
    lora = LoraConfig(r=64, lora_alpha=64, use_rslora=stabilised, target_modules=["q_proj"])
    names = [f"task{task}" for task in range(len(weights))]
    model = get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), lora, adapter_name=names[0])
    for name in names[1:]:
        model.add_adapter(name, lora)
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    first = torch.randn(64, 128), torch.randn(128, 64)  # as if they had been trained, alike
    for name in names:
        layer.lora_A[name].weight.data, layer.lora_B[name].weight.data = (part.clone() for part in first)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.add_weighted_adapter(names, weights, "merged", **how)
    total = sum(weight * layer.get_delta_weight(name) for name, weight in zip(names, weights, strict=True))
    return (layer.get_delta_weight("merged").norm() / total.norm()).item(), len(caught)


print(f"peft {metadata.version('peft')}, add_weighted_adapter, adapters of rank 64 with lora_alpha=64")
one, mean = [1.0], [0.5, 0.5]
ties = dict(combination_type="ties", density=1.0)
seen = []
for weights, how in ((one, {}), (one, ties), (mean, {}), (mean, {"combination_type": "cat"})):
    (plain, _), (stabilised, told) = (times(weights, kind, **how) for kind in (False, True))
    seen.append((plain, stabilised, told))
    kind = how.get("combination_type", "svd, the default")
    print(f"weights {weights}, {kind}: {plain:.2f} of the sum; use_rslora: {stabilised:.2f}; warnings: {told}")
if not all(
    abs(plain - 1) < 1e-3 and abs(stabilised - root) < 1e-2 and told == 0
    for (plain, stabilised, told), root in zip(seen, (8, 8, 8, 128**0.5), strict=True)
):
    print("Changed.")
    sys.exit(1)
PYTHON
