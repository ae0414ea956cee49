#!/usr/bin/env bash
# LoRA on gate_proj, up_proj and down_proj, in two mixtures of experts whose first layer has an ordinary MLP: in a
# Qwen3-MoE the ordinary MLP, three linear layers of just these names, gets no adapter, and the experts do, gate and
# up at twice the rank asked for; in a Qwen2-MoE it is the other way round, and no expert gets any. "all-linear"
# parts them alike. The one warning is of a rank_pattern, which nobody gave.
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

from peft import LoraConfig, get_peft_model
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

RANK, EXPERTS = 2, 4
sizes = dict(
    vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, num_experts=EXPERTS, num_experts_per_tok=2, moe_intermediate_size=8, mlp_only_layers=[0],
)
models = {
    "Qwen2-MoE": lambda: Qwen2MoeForCausalLM(Qwen2MoeConfig(shared_expert_intermediate_size=32, **sizes)),
    "Qwen3-MoE": lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes)),
}

print(f"peft {metadata.version('peft')}, transformers {metadata.version('transformers')}")
seen = []
for targets in (["gate_proj", "up_proj", "down_proj"], "all-linear"):
    for family, build in models.items():
        model = get_peft_model(build(), LoraConfig(r=RANK, target_modules=targets))
        made = {name: len(weight) for name, weight in model.named_parameters() if ".lora_A." in name}
        ordinary = sum(".layers.0.mlp." in name for name in made)
        of_experts = sorted(rows // EXPERTS for name, rows in made.items() if ".experts." in name)
        seen.append((ordinary, of_experts))
        print(f"{targets}, {family}: adapters of the ordinary MLP {ordinary}, ranks of the experts' {of_experts}")
if seen != [(3, []), (0, [2, 4])] * 2:
    print("Changed.")
    sys.exit(1)
PYTHON
