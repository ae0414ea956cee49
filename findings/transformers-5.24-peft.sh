#!/usr/bin/env bash
# transformers 5.24.0 adds adapters with peft 0.22.0 or later alone, and no such peft is released.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.24.0 PEFT=0.21.2 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "torch==$TORCH" "transformers==$TRANSFORMERS" "peft==$PEFT"

cd "$folder" # nothing of a checkout is imported
if pip download --no-deps --dest later "peft>=0.22" 2>pip.log; then
    echo "Changed: a later peft is released: $(ls later)"
    exit 1
fi
grep -q "No matching distribution" pip.log || { cat pip.log; exit 1; }

TRANSFORMERS_VERBOSITY=error "$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys

from peft import LoraConfig
from transformers import LlamaConfig, LlamaForCausalLM

model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
)
print(f"transformers {metadata.version('transformers')}, peft {metadata.version('peft')}")
print("A LoRA adapter is added to a Llama of one layer with model.add_adapter(LoraConfig(r=2)).")
try:
    model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
except ValueError as error:
    print(f"Refused, with ValueError: {error}")
    print("The index has no peft of that version: pip install of the newest of both gives no LoRA.")
    if ">= 0.22.0" in str(error):
        sys.exit()
else:
    print("Changed: it was added.")
sys.exit(1)
PYTHON
