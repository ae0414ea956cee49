#!/usr/bin/env bash
# AdaLoRA adds a penalty on its matrices to the loss that the model gives, in evaluation, too: before anything is
# learned the model says every word just as its base does, and its loss is 1.7 higher, the perplexity 5.4 times as
# large. Beside LoRA or the base, and between ranks, eval_loss compares penalties. Whether the penalty is there at all
# is settled by task_type: without "CAUSAL_LM" there is none, in training neither. Nothing is said.
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

import torch
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

sizes = dict(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
ROWS = torch.randint(2, 64, (8, 16), generator=torch.Generator().manual_seed(0))


def look(adapter):
    """The loss that a model with a fresh adapter gives in evaluation, and that of its own logits."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=None, eos_token_id=1, pad_token_id=0))
    model = (get_peft_model(model, adapter) if adapter else model).eval()
    with torch.no_grad():
        given = model(input_ids=ROWS, labels=ROWS)
    own = torch.nn.functional.cross_entropy(given.logits[:, :-1].flatten(0, 1), ROWS[:, 1:].flatten())
    return given.loss.item(), own.item()


print(f"peft {metadata.version('peft')}, transformers {metadata.version('transformers')}; nothing is learned yet")
targets = dict(target_modules=["q_proj", "v_proj"])
adapters = {
    "base": None,
    "LoRA": LoraConfig(task_type="CAUSAL_LM", **targets),
    "AdaLoRA, init_r=12": AdaLoraConfig(task_type="CAUSAL_LM", total_step=100, **targets),
    "AdaLoRA, init_r=48": AdaLoraConfig(task_type="CAUSAL_LM", total_step=100, init_r=48, **targets),
    "AdaLoRA, init_r=12, no task_type": AdaLoraConfig(total_step=100, **targets),
}
more = {}
for name, adapter in adapters.items():
    loss, own = look(adapter)
    more[name] = loss - own
    perplexity, of_logits = torch.tensor([loss, own]).exp().tolist()
    print(f"{name}: loss {loss:.3f}, of its logits {own:.3f}; perplexity {perplexity:.0f}, {of_logits:.0f}")
small, large = more["AdaLoRA, init_r=12"], more["AdaLoRA, init_r=48"]
rest = [more[name] for name in ("base", "LoRA", "AdaLoRA, init_r=12, no task_type")]
if not (1.6 < small < 1.8 and large > 1.7 * small and all(abs(difference) < 1e-3 for difference in rest)):
    print("Changed.")
    sys.exit(1)
PYTHON
