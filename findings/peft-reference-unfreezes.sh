#!/usr/bin/env bash
# When disable_adapter() of peft 0.21.2 ends it makes all weights of the active adapters trainable, those too that were
# frozen before it: the adapter of an earlier task that set_requires_grad(..., False) has frozen beside the new one, one
# loaded for use alone (is_trainable=False), LoRA's A where only B is trained. So the first look at the reference, as
# a KL penalty takes one in each step, unfreezes the old task, and the new one trains it away. Nothing is said.
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
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
generator = torch.Generator().manual_seed(0)
tasks = [torch.randint(64, (8, 12), generator=generator) for _ in range(2)]
lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"])


def base():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES))


def train(model, ids, penalty=0.0):
    """All that is trainable; with a penalty on the KL divergence to the base."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0)
    for _ in range(50):
        loss = model(ids, labels=ids).loss
        if penalty:
            with torch.no_grad(), model.disable_adapter():
                reference = model(ids).logits.log_softmax(-1)
            now = model(ids).logits.log_softmax(-1)
            loss = loss + penalty * (now.exp() * (now - reference)).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def second_task(penalty):
    """How far the first task's adapter, frozen, has moved in the second, and the first task's loss with it alone."""
    model = PeftModel.from_pretrained(base(), "first/first", adapter_name="first")
    model.add_adapter("second", lora)
    model.base_model.set_adapter(["first", "second"])
    model.set_requires_grad("first", False)
    old = {name: weight.detach().clone() for name, weight in model.named_parameters() if ".first." in name}
    assert not any(weight.requires_grad for name, weight in model.named_parameters() if name in old)
    train(model, tasks[1], penalty)
    way = sum((weight - old[name]).square().sum() for name, weight in model.named_parameters() if name in old).sqrt()
    model.base_model.set_adapter("first")
    return way.item(), model(tasks[0], labels=tasks[0]).loss.item()


def unfrozen(model):
    with model.disable_adapter():
        pass
    return sum(weight.requires_grad for name, weight in model.named_parameters() if "lora_" in name)


print(f"peft {metadata.version('peft')}, a frozen adapter of the first task beside the trained one of the second")
print("Expected: after disable_adapter() as before it.")
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    first = get_peft_model(base(), lora, adapter_name="first")
    train(first, tasks[0])
    first.save_pretrained("first")
    plain, penalised = second_task(0.0), second_task(1e-6)
    loaded = unfrozen(PeftModel.from_pretrained(base(), "first/first"))
for name, (way, loss) in (("no penalty", plain), ("a KL penalty of 1e-6", penalised)):
    print(f"{name}: the old adapter has moved by {way:.2f}; first task's loss with it {loss:.2f}")
print(f"loaded with is_trainable=False: {loaded} matrices trainable after disable_adapter()")
told = [str(warning.message) for warning in told if issubclass(warning.category, UserWarning)]
if not (plain[0] == 0 and penalised[0] > 0.5 and penalised[1] > plain[1] + 0.2 and loaded == 8 and not told):
    print("Changed.")
    sys.exit(1)
PYTHON
