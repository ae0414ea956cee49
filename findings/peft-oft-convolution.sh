#!/usr/bin/env bash
# An OFT adapter on a convolution changes the model before it has learned anything: peft cuts the picture into patches
# as large as the kernel, one at every pixel, turns each, which at first leaves it as it is, and lays them together
# again with their numbers in another order, added up where they overlap. So what comes out has little or nothing to do
# with what the base gives there, and a classifier that is always right is about as good as a guess. Merged it is the
# base again: what is trained and measured is another model than what is merged. A kernel of 1 by 1, and LoRA and BOFT,
# change nothing. OFT takes convolutions without a word.
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
"$python" -W ignore - <<'PYTHON'
import copy
import importlib.metadata as metadata
import sys

import torch
from peft import BOFTConfig, LoraConfig, OFTConfig, get_peft_model
from torch import nn

KERNELS = {
    "3x3": dict(kernel_size=3, padding=1),
    "8x8, stride 8": dict(kernel_size=8, stride=8),
    "1x1": dict(kernel_size=1),
}
KINDS = {
    "LoRA": LoraConfig(r=4, target_modules=["0"]),
    "BOFT": BOFTConfig(boft_block_size=0, boft_block_num=2, target_modules=["0"]),
    "OFT": OFTConfig(r=2, oft_block_size=0, target_modules=["0"]),
}
generator = torch.Generator().manual_seed(0)
patterns = torch.randn(8, 4, 16, 16, generator=generator)
classes = torch.randint(8, (512,), generator=generator)
pictures = 0.3 * patterns[classes] + torch.randn(512, 4, 16, 16, generator=generator)


def trained(**kernel):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, **kernel), nn.Tanh(), nn.Flatten(), nn.LazyLinear(8))
    model(pictures)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(pictures), classes).backward()
        optimizer.step()
    return model.eval()


def right(model):
    with torch.no_grad():
        return (model(pictures).argmax(1) == classes).float().mean().item()


def fresh(base, config):
    """The correlation of the convolution's output with the base's, with a fresh adapter; accuracy so, and merged."""
    model = get_peft_model(copy.deepcopy(base), copy.deepcopy(config)).eval()
    with torch.no_grad():
        outputs = torch.stack([layer(pictures).flatten() for layer in (base[0], model.base_model.model[0])])
    return torch.corrcoef(outputs)[0, 1].item(), right(model), right(model.merge_and_unload())


print(f"peft {metadata.version('peft')}, adapters that have learned nothing, on a convolution")
for kernel, settings in KERNELS.items():
    base = trained(**settings)
    print(f"kernel {kernel}: accuracy of the base {right(base):.0%}")
    for kind, config in KINDS.items():
        alike, adapted, merged = fresh(base, config)
        print(f"  {kind}: correlation with the base's output {alike:.2f}, accuracy {adapted:.0%}, merged {merged:.0%}")
        same = kind != "OFT" or kernel == "1x1"
        if merged < right(base) or (alike < 0.999 or adapted < right(base) if same else alike > 0.7 or adapted > 0.6):
            print("Changed.")
            sys.exit(1)
PYTHON
