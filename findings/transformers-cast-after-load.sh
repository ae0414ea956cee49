#!/usr/bin/env bash
# from_pretrained(dtype=torch.bfloat16) and from_pretrained().to(torch.bfloat16) are not the same model, though all
# their weights are equal: .to() rounds the rotary frequencies, too, which lie in a buffer that no state_dict shows.
# The further a token stands, the more its position is off: by most of a turn at 4,000, which is a picture or two.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "transformers==$TRANSFORMERS"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()
torch.manual_seed(0)
TOKENS = 4000
sizes = dict(vocab_size=64, hidden_size=128, intermediate_size=128, num_hidden_layers=2, num_attention_heads=1)
LlamaForCausalLM(LlamaConfig(**sizes, max_position_embeddings=8192, initializer_range=0.2)).save_pretrained("model")


def load(dtype):
    return LlamaForCausalLM.from_pretrained("model", dtype=dtype)


exact, loaded, cast = load(torch.float32), load(torch.bfloat16), load(torch.float32).to(torch.bfloat16)
tokens = torch.randint(64, (1, TOKENS))


def same_choices(model, places):
    """The share of places where the likeliest next token is that of the float32 model."""
    with torch.no_grad():
        return (model(tokens).logits.argmax(-1) == exact(tokens).logits.argmax(-1))[0, places].float().mean().item()


weights = zip(loaded.state_dict().values(), cast.state_dict().values(), strict=True)
same_weights = all(torch.equal(one, other) for one, other in weights)
turns = (cast.model.rotary_emb.inv_freq.float() - exact.model.rotary_emb.inv_freq).abs().max() * TOKENS / 6.2832
print(f"transformers {metadata.version('transformers')}, torch {torch.__version__}")
print(f"All weights equal: {same_weights}. At position {TOKENS} .to() is off by up to {turns:.1f} turns.")
shares = {}
for places in (slice(0, 100), slice(TOKENS - 100, TOKENS)):
    shares[places.start] = same_choices(loaded, places), same_choices(cast, places)
    print(
        f"Tokens {places.start} to {places.stop}: the likeliest next token is that of float32 in "
        f"{shares[places.start][0]:.0%} (dtype=) and {shares[places.start][1]:.0%} (.to())."
    )
near, far = shares.values()
if not (same_weights and turns > 0.5 and min(near) > 0.85 and far[0] > 0.85 and far[1] < 0.5):
    print("Changed.")
    sys.exit(1)
PYTHON
