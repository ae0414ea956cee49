#!/usr/bin/env bash
# PiSSA's fast start (init_lora_weights="pissa_niter_4" or 16, for large models) takes a part out of the base that peft
# finds with random numbers; the adapter is saved without it, and when it is loaded another part is found and taken out.
# So what is loaded is another model than what was saved, off by a quarter to a half of all that was learned, and every
# process that loads it has one of its own, unless its random state happens to be that of the training. Nothing is said
# of it. With "pissa", which finds the part exactly, the model is the same, as with plain LoRA.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.24.0 PEFT=0.21.2 TORCH=2.13.0

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
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = dict(vocab_size=64, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4)
starts = torch.arange(64)[:, None]
TASK = (starts + 5 * torch.arange(12)) % 64  # each token is five more than the one before


def base():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, bos_token_id=None, eos_token_id=None, pad_token_id=None)).eval()


def logits(model):
    with torch.no_grad():
        return model(input_ids=TASK).logits


def loss(scores):
    return torch.nn.functional.cross_entropy(scores[:, 1:-1].flatten(0, 1), TASK[:, 2:].flatten()).item()


def loaded(start):
    """The loss before the training, after it, and as loaded under three seeds; how far these are off; any warning."""
    torch.manual_seed(1)
    model = get_peft_model(base(), LoraConfig(r=8, init_lora_weights=start, target_modules="all-linear"))
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=2e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model(input_ids=TASK, labels=TASK).loss.backward()
        optimizer.step()
    before, after = logits(base()), logits(model.eval())
    model.save_pretrained("adapter")
    losses, shares = [], []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in (2, 3, 4):
            fresh = base()
            torch.manual_seed(seed)
            again = logits(PeftModel.from_pretrained(fresh, "adapter").eval())
            losses.append(loss(again))
            shares.append(((again - after).norm() / (after - before).norm()).item())
    return loss(before), loss(after), losses, shares, any("pissa" in str(warning.message).lower() for warning in caught)


print(f"peft {metadata.version('peft')}; how far the loaded model is off: of the distance that it learned")
seen = {}
for start in (True, "pissa", "pissa_niter_16", "pissa_niter_4"):
    before, after, losses, shares, told = seen[start] = loaded(start)
    print(
        f"init_lora_weights={start!r}: loss {before:.2f} before, {after:.3f} trained, loaded "
        f"{', '.join(f'{each:.3f}' for each in losses)}; off by {', '.join(f'{each:.0%}' for each in shares)}; "
        f"told: {told}"
    )
if not all(
    (max(shares) < 1e-3 if start in (True, "pissa") else min(shares) > 0.1) and not told
    for start, (*_, shares, told) in seen.items()
):
    print("Changed.")
    sys.exit(1)
PYTHON
