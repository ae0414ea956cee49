#!/usr/bin/env bash
# LoRA goes by the names of layers, not by what is frozen: q_proj and v_proj put adapters that are trained into the
# frozen vision tower of a LLaVA, whose layers bear the same names, and none into that of a Qwen2.5-VL, whose
# attention has a qkv. gate_proj and up_proj are the other way round, and "all-linear" reaches the towers of both.
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

from peft import LoraConfig, get_peft_model
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

sizes = dict(hidden_size=16, intermediate_size=32)
text = dict(vocab_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, **sizes)


def llava():
    vision = CLIPVisionConfig(num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14, **sizes)
    config = LlavaConfig(vision_config=vision, text_config=LlamaConfig(**text), image_token_index=5)
    model = LlavaForConditionalGeneration(config)
    return model, model.model.vision_tower


def qwen():
    vision = dict(depth=2, num_heads=2, out_hidden_size=16, **sizes)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))
    return model, model.model.visual


def adapters(made, targets):
    """Trained matrices of LoRA in the vision tower, which was frozen before, and in the whole model."""
    model, tower = made
    tower.requires_grad_(False)
    whole = get_peft_model(model, LoraConfig(r=2, target_modules=targets))
    return tuple(sum(weight.requires_grad for weight in part.parameters()) for part in (tower, whole))


print(f"peft {metadata.version('peft')}, transformers {metadata.version('transformers')}")
seen = []
for targets in (["q_proj", "v_proj"], ["gate_proj", "up_proj"], "all-linear"):
    for family, build in (("LLaVA", llava), ("Qwen2.5-VL", qwen)):
        in_tower, everywhere = adapters(build(), targets)
        seen.append(in_tower > 0)
        print(f"{targets}, {family}: {in_tower} of {everywhere} trained matrices are in the frozen vision tower")
if seen != [True, False, False, True, True, True]:
    print("Changed.")
    sys.exit(1)
PYTHON
