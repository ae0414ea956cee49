#!/usr/bin/env bash
# exclude_modules=["vision_tower"] leaves no layer of the vision tower out: in a list PEFT looks for whole names or
# their ends, and a layer of the tower has another end. So the tower of a LLaVA gets as many adapters as without this
# setting, and they are trained. PEFT warns where exclude_modules has met nothing, but here it has met the tower itself,
# which would have got no adapter, and says nothing; for the same name as a text, which is a regular expression for the
# whole name, it warns, and ".*vision_tower.*" excludes. modules_to_save takes the name for all that is within.
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
HF_HUB_OFFLINE=1 "$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

from peft import LoraConfig, get_peft_model
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

SIZES = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
CASES = {
    "nothing": {},
    "exclude_modules=['vision_tower']": dict(exclude_modules=["vision_tower"]),
    "exclude_modules=['model.vision_tower']": dict(exclude_modules=["model.vision_tower"]),
    "exclude_modules='vision_tower'": dict(exclude_modules="vision_tower"),
    "exclude_modules='.*vision_tower.*'": dict(exclude_modules=".*vision_tower.*"),
    "modules_to_save=['vision_tower']": dict(modules_to_save=["vision_tower"]),
}


def model():
    vision = CLIPVisionConfig(image_size=28, patch_size=14, **SIZES)
    config = LlavaConfig(vision_config=vision, text_config=LlamaConfig(vocab_size=64, **SIZES), image_token_index=5)
    return LlavaForConditionalGeneration(config)


print(f"peft {metadata.version('peft')}, transformers {metadata.version('transformers')}; q_proj and v_proj")
seen = {}
for name, settings in CASES.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        whole = get_peft_model(model(), LoraConfig(r=8, target_modules=["q_proj", "v_proj"], **settings))
    warned = any("no modules were excluded" in str(warning.message) for warning in caught)
    trained = [key for key, weight in whole.named_parameters() if "vision_tower" in key and weight.requires_grad]
    seen[name] = (sum("lora_" in key for key in trained), any("lora_" not in key for key in trained), warned)
    print(f"{name}: {seen[name][0]} trained matrices of adapters in the tower, ", end="")
    print(f"its own weights trained: {seen[name][1]}; warned: {warned}")
known = [(8, False, False)] * 3 + [(8, False, True), (0, False, False), (0, True, False)]
if list(seen.values()) != known:
    print("Changed.")
    sys.exit(1)
PYTHON
