#!/usr/bin/env bash
# A Qwen2.5-VL knows where a picture lies by mm_token_type_ids, which the processors of transformers 5 give: without
# them the rows and columns of the picture are no positions, its patches are counted like words, and all words after it
# stand as many places further on. A training loop, a collator or a cache that hands over what these models took before
# (input_ids, attention_mask, pixel_values, image_grid_thw) trains and scores with other positions, and nothing is said.
# A Qwen3-VL asks for them.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "transformers==$TRANSFORMERS"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 "$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import logging
import sys
import warnings

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

START, PICTURE, END = 60, 61, 62
SIDE = 16  # tokens of a picture's side, each of two by two patches
ROW = torch.tensor([[1, 2, START] + [PICTURE] * SIDE**2 + [END, 5, 6, 7]])
MARKS = dict(vision_start_token_id=START, vision_end_token_id=END, image_token_id=PICTURE, video_token_id=63)
TEXT = dict(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, head_dim=16, bos_token_id=None, eos_token_id=1,
    rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
)  # fmt: skip
VISION = dict(depth=2, hidden_size=32, intermediate_size=64, num_heads=2, out_hidden_size=32, patch_size=14)
MODELS = {
    "Qwen2.5-VL": (Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig, VISION),
    "Qwen3-VL": (Qwen3VLForConditionalGeneration, Qwen3VLConfig, VISION | dict(deepstack_visual_indexes=[0])),
}
words = []
handler = logging.Handler(logging.WARNING)
handler.emit = lambda record: words.append(record.getMessage())
logging.getLogger("transformers").addHandler(handler)


def look(model, **inputs):
    """The logits for a row with a picture, where its last patch and the word after it stand, and the warnings."""
    words.clear()
    positions = []
    rotary = model.model.language_model.rotary_emb
    hook = rotary.register_forward_hook(
        lambda module, given, named, kept: positions.append(named.get("position_ids", given[-1])), with_kwargs=True
    )
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logits = model(input_ids=ROW, attention_mask=torch.ones_like(ROW), **inputs).logits
    hook.remove()
    *_, patch, word = positions[0][-3:, 0, : 3 + SIDE**2 + 1].T.tolist()
    return logits, patch, word, len(words) + len(caught)


print(f"transformers {metadata.version('transformers')}; a picture of {SIDE} by {SIDE} tokens: time, row, column")
seen = {}
for name, (kind, config, vision) in MODELS.items():
    torch.manual_seed(0)
    model = kind(config(text_config=TEXT, vision_config=vision, **MARKS)).eval()
    vision = model.config.vision_config
    values = torch.randn((2 * SIDE) ** 2, 3 * vision.temporal_patch_size * vision.patch_size**2)
    picture = dict(pixel_values=values, image_grid_thw=torch.tensor([[1, 2 * SIDE, 2 * SIDE]]))
    for how, types in (("with", dict(mm_token_type_ids=(ROW == PICTURE).int())), ("without", {})):
        try:
            seen[name, how] = _, patch, word, told = look(model, **picture, **types)
            print(f"{name} {how} mm_token_type_ids: last patch {patch}, word after it {word}; warnings: {told}")
        except ValueError as error:
            seen[name, how] = None
            print(f"{name} {how} mm_token_type_ids: {str(error)[:78]} ...")
    if name == "Qwen2.5-VL":
        counted, *_ = look(model, **picture, position_ids=torch.arange(ROW.shape[1]).expand(3, 1, -1))
right, other = seen["Qwen2.5-VL", "with"], seen["Qwen2.5-VL", "without"]
if not (
    right[1:3] == ([3, 18, 18], [19, 19, 19])
    and other[1:] == ([258, 258, 258], [259, 259, 259], 0)
    and torch.equal(other[0], counted)
    and not torch.allclose(other[0], right[0])
    and seen["Qwen3-VL", "with"][1:3] == right[1:3]
    and seen["Qwen3-VL", "without"] is None
):
    print("Changed.")
    sys.exit(1)
PYTHON
