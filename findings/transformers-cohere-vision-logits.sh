#!/usr/bin/env bash
# Cohere's text models multiply their logits by config.logit_scale (0.0625 by default). Around the same text model, with
# the same configuration and weights, AyaVisionForConditionalGeneration and Cohere2VisionForConditionalGeneration do
# not: of the same text their logits are 16 times those of Cohere2ForCausalLM. The most likely token is the same, so
# greedy answers show nothing; at temperature 1 the eight samples of a group, which differ from the text model, are one
# and the same from the vision-language model, and log-probabilities are those of a temperature of 1/16.
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
    AyaVisionConfig,
    AyaVisionForConditionalGeneration,
    Cohere2ForCausalLM,
    Cohere2VisionConfig,
    Cohere2VisionForConditionalGeneration,
)

GROUPS, SIZE, TOKENS = 50, 8, 4
TEXT = dict(
    model_type="cohere2", vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, bos_token_id=None, eos_token_id=None, pad_token_id=0,
)
VISION = dict(
    model_type="siglip_vision_model", hidden_size=24, intermediate_size=48, num_hidden_layers=2,
    num_attention_heads=2, image_size=16, patch_size=8,
)
questions = torch.randint(1, 60, (GROUPS, 6), generator=torch.Generator().manual_seed(0))


def answers(model):
    """How many of a group's samples differ, on average."""
    torch.manual_seed(0)
    made = model.generate(
        questions, attention_mask=torch.ones_like(questions), do_sample=True, temperature=1.0, top_k=0,
        num_return_sequences=SIZE, max_new_tokens=TOKENS, pad_token_id=0,
    )[:, questions.shape[1] :].reshape(GROUPS, SIZE, TOKENS)
    return sum(len({tuple(one) for one in group}) for group in made.tolist()) / GROUPS


versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("transformers", "torch"))
print(f"{versions}; the same weights, {GROUPS} questions without a picture, {SIZE} samples each at temperature 1")
same = True
for name, kind, config in (
    ("Aya Vision", AyaVisionForConditionalGeneration, AyaVisionConfig),
    ("Cohere2 Vision", Cohere2VisionForConditionalGeneration, Cohere2VisionConfig),
):
    torch.manual_seed(0)
    sees = kind(config(text_config=TEXT, vision_config=VISION, image_token_id=63)).eval()
    with torch.no_grad():  # sure and unsure as a text model that was trained
        sees.get_input_embeddings().weight.normal_(std=2)
    reads = Cohere2ForCausalLM(sees.config.text_config).eval()
    reads.model.load_state_dict(sees.model.language_model.state_dict())
    reads.lm_head.load_state_dict(sees.lm_head.state_dict())
    with torch.no_grad():
        seen, read = sees(input_ids=questions).logits, reads(input_ids=questions).logits
    ratio = float((seen / read).median())
    alike = float((seen.argmax(-1) == read.argmax(-1)).float().mean())
    surest = [float(one.softmax(-1).amax(-1).mean()) for one in (read, seen)]
    samples = [answers(one) for one in (reads, sees)]
    print(
        f"{name}: logit_scale {sees.config.text_config.logit_scale}; logits {ratio:.2f} times the text model's; the "
        f"same token first at {alike:.0%}; probability of the first {surest[0]:.2f} (text) and {surest[1]:.2f}; "
        f"different samples of {SIZE}: {samples[0]:.1f} (text) and {samples[1]:.1f}"
    )
    same &= abs(ratio - 16) < 1e-3 and alike == 1 and samples[0] > 7 and samples[1] < 3
if not same:
    print("Changed.")
    sys.exit(1)
PYTHON
