#!/usr/bin/env bash
# A generation_config.json that is no JSON (cut off by a copy that failed, say) counts as one that is missing:
# from_pretrained loads the model without a word, generate goes on past the ends that the file names, and
# save_pretrained writes a sound file without them.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "transformers==$TRANSFORMERS"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 "$python" - <<'PYTHON'
import importlib.metadata as metadata
import json
import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
sizes = dict(vocab_size=8, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
LlamaForCausalLM(LlamaConfig(**sizes, eos_token_id=None)).save_pretrained("model")
settings = Path("model/generation_config.json")
whole = json.dumps({"eos_token_id": list(range(1, 8)), "pad_token_id": 0})


def reply():
    model = LlamaForCausalLM.from_pretrained("model")
    tokens = model.generate(torch.tensor([[1, 2]]), max_new_tokens=16, do_sample=False)
    model.save_pretrained("saved")
    saved = json.loads(Path("saved/generation_config.json").read_text())
    return tokens.shape[1] - 2, saved.get("eos_token_id")


print(f"transformers {metadata.version('transformers')}")
settings.write_text(whole)
sound = reply()
print(f"Whole file: a reply of {sound[0]} tokens, ends {sound[1]} in what is saved again.")
settings.write_text(whole[:-5])
try:
    broken = reply()
except Exception as error:
    print(f"Changed: refused, with {type(error).__name__}: {error}")
    sys.exit(1)
print(f"Cut off by 5 bytes: a reply of {broken[0]} tokens, ends {broken[1]} in what is saved again.")
sys.exit(not (broken[0] > sound[0] and broken[1] is None))
PYTHON
