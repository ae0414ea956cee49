#!/usr/bin/env bash
# A Qwen2.5-VL or Qwen3-VL keeps on itself by how much a picture shifts the positions of the words after it, and adds
# that to whatever goes on from a cache next, whoever's it is. A row without a picture does not clear it: after one look
# at a picture a greedy loop of one's own over a cache, or options scored from the cache of a prompt, gives a
# text-only row other words than before (the first pass over it is right), and so do two prompts with pictures of
# different sizes whose caches are held side by side. generate() is right. Nothing is said.
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
import importlib.metadata as metadata
import sys

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

START, PICTURE, END, NEW = 60, 61, 62, 12
QUESTION, OPTION = [3, 4, 5, 6, 7], torch.tensor([[10, 11, 12]])
MARKS = dict(vision_start_token_id=START, vision_end_token_id=END, image_token_id=PICTURE, video_token_id=63)
TEXT = dict(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, head_dim=16, bos_token_id=None, eos_token_id=1, initializer_range=0.3,
    rope_parameters={"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 3, 3]},
)  # fmt: skip
VISION = dict(depth=2, hidden_size=32, intermediate_size=64, num_heads=2, out_hidden_size=32, patch_size=14)
MODELS = {
    "Qwen2.5-VL": (Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig, VISION),
    "Qwen3-VL": (Qwen3VLForConditionalGeneration, Qwen3VLConfig, VISION | dict(deepstack_visual_indexes=[0])),
}


def prompt(side=0):
    """What the model takes for a question, behind a picture of side by side tokens if there is one."""
    picture = [START, *[PICTURE] * side**2, END] if side else []
    ids = torch.tensor([picture + QUESTION])
    given = dict(input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=(ids == PICTURE).int())
    if side:
        values = torch.randn((2 * side) ** 2, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(side))
        given |= dict(pixel_values=values, image_grid_thw=torch.tensor([[1, 2 * side, 2 * side]]))
    return given


def answer(model, given):
    """A greedy loop over a cache, as in any tutorial."""
    words = []
    while len(words) < NEW:
        seen = model(**given, use_cache=True)
        words.append(seen.logits[0, -1].argmax().item())
        given = dict(input_ids=torch.tensor([words[-1:]]), past_key_values=seen.past_key_values)
    return words


def from_caches(model, first, second):
    """Log-probability of an option from the first prompt's cache, the second prompt's being filled before it."""
    caches = [model(**given, use_cache=True) for given in (first, second)]
    rest = model(input_ids=OPTION, past_key_values=caches[0].past_key_values).logits
    return score(torch.cat([caches[0].logits[:, -1:], rest[:, :-1]], dim=1))


def at_once(model, given):
    """The same from one pass over the prompt and the option."""
    ids = torch.cat([given["input_ids"], OPTION], dim=1)
    whole = given | dict(input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=(ids == PICTURE).int())
    return score(model(**whole).logits[:, -OPTION.shape[1] - 1 : -1])


def score(logits):
    return logits.log_softmax(-1).gather(-1, OPTION[..., None]).sum().item()


print(f"transformers {metadata.version('transformers')}, torch {torch.__version__}")
failed = False
for name, (kind, config, vision) in MODELS.items():
    torch.manual_seed(0)
    model = kind(config(text_config=TEXT, vision_config=vision, **MARKS)).eval()
    model.generation_config.eos_token_id = None
    with torch.no_grad():
        before = answer(model, prompt())
        pictured = answer(model, prompt(4))
        after = answer(model, prompt())
        drawn, looked = (
            model.generate(**prompt(side), max_new_tokens=NEW, do_sample=False, pad_token_id=0)[0, -NEW:].tolist()
            for side in (0, 4)
        )
        print(f"{name}, text only, before any picture: {before}")
        print(f"{name}, text only, after one picture:  {after}; generate(): {drawn}")
        right = at_once(model, prompt(4))
        alone, beside = (from_caches(model, prompt(4), prompt(side)) for side in (4, 8))
        print(f"{name}, an option's log-probability: {right:.3f} in one pass, {alone:.3f} from its prompt's cache,")
        print(f"    {beside:.3f} when the cache of a prompt with another picture was filled in between")
    failed |= not (
        before == drawn and after[0] == before[0] and after != before and pictured == looked
        and abs(alone - right) < 1e-3 and abs(beside - right) > 0.1
    )  # fmt: skip
if failed:
    print("Changed.")
    sys.exit(1)
PYTHON
