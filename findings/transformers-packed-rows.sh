#!/usr/bin/env bash
# Several texts in one row, each with positions from 0 on, are kept apart by transformers 5.23.0 (with PyTorch's
# attention) only if there is no cache: with use_cache=True, which models have by default, in training mode too, the
# second text sees the first one, and its log-probability is another. Trainer switches off the cache of its model, but
# not of a teacher beside it; in a loop of one's own it is on, till gradient checkpointing, which switches it off too,
# makes the loss another.
# Qwen2.5-VL with its three rows of positions (time, height, width) never keeps texts apart; it does with the plain
# positions as a fourth row before them, and without a cache.
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
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

SIZES = dict(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, bos_token_id=None, eos_token_id=1, pad_token_id=0,
)  # fmt: skip
generator = torch.Generator().manual_seed(0)
first, second = (torch.randint(8, 64, (1, length), generator=generator) for length in (10, 6))
packed = torch.cat([first, second], 1)
positions = torch.cat([torch.arange(10), torch.arange(6)])[None]


def language_model():
    return LlamaForCausalLM(LlamaConfig(**SIZES))


def vision_language_model():
    rotary = dict(rope_type="default", rope_theta=1e6, mrope_section=[2, 3, 3])
    tower = dict(depth=1, hidden_size=32, num_heads=2, out_hidden_size=32, intermediate_size=32)
    text = dict(**SIZES, rope_parameters=rotary)
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=tower))


def second_text(make, packed_positions=None, checkpointing=False, **how):
    """The log-probability of the second text, in training mode (there is no dropout)."""
    torch.manual_seed(0)
    model = make().train()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight.data, std=0.3)
    if checkpointing:
        model.gradient_checkpointing_enable()
    ids = second if packed_positions is None else packed
    logits = model(input_ids=ids, position_ids=packed_positions, **how).logits[:, -second.shape[1] : -1]
    return logits.log_softmax(-1).gather(-1, second[:, 1:, None]).sum().item()


print(f"transformers {metadata.version('transformers')}, the log-probability of a text that is second in its row")
print("Expected: as if it were alone, for its positions begin at 0 again.")
alone = second_text(language_model)
cached = second_text(language_model, positions)
uncached = second_text(language_model, positions, use_cache=False)
recomputed = second_text(language_model, positions, checkpointing=True)
print(f"Llama: alone {alone:.2f}; packed {cached:.2f}, without the cache {uncached:.2f},")
print(f"  with gradient checkpointing {recomputed:.2f}")
vision_alone = second_text(vision_language_model)
three, four = (positions[None].expand(rows, -1, -1) for rows in (3, 4))
vision_three = second_text(vision_language_model, three, use_cache=False)
vision_four = second_text(vision_language_model, four, use_cache=False)
vision_cached = second_text(vision_language_model, four)
print(f"Qwen2.5-VL: alone {vision_alone:.2f}; packed, without the cache, three rows of positions {vision_three:.2f},")
print(f"  four {vision_four:.2f}; four with the cache {vision_cached:.2f}")
apart = abs(uncached - alone), abs(recomputed - alone), abs(vision_four - vision_alone)
seen_through = abs(cached - alone), abs(vision_three - vision_alone), abs(vision_cached - vision_alone)
if not (max(apart) < 1e-3 and min(seen_through) > 1):
    print("Changed.")
    sys.exit(1)
PYTHON
