#!/usr/bin/env bash
# PPO's advantages, which torchtune says it normalises, keep their mean: whiten divides by the standard deviation and,
# unless it is told not to shift, adds the mean again that it took away (in TRL, where it comes from, it does so only if
# it is told not to shift). So with rewards from 9 to 11 and values of 0 the advantages are about 10, all above 0: every
# answer is made likelier, the worst one, too; and a reward that is 100 times as large has advantages of about 1,000.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCHTUNE=0.6.1 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps "torchtune==$TORCHTUNE" # torch will do

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import runpy
import sys

import torch

file = metadata.distribution("torchtune").locate_file("torchtune/rlhf/rewards.py")
advantages_of = runpy.run_path(str(file))["estimate_advantages"]


def advantages(rewards):
    """Those of answers of one token each, where the value of every answer is 0."""
    rewards = torch.tensor(rewards)[:, None]
    found, _ = advantages_of(torch.zeros_like(rewards), rewards, gamma=1.0, lmbda=0.95)
    return found.flatten()


print(f"torchtune {metadata.version('torchtune')}, estimate_advantages")
seen = {}
for rewards in ([-1.0, 0.0, 1.0], [9.0, 10.0, 11.0], [900.0, 1000.0, 1100.0]):
    found = seen[rewards[1]] = advantages(rewards)
    listed = ", ".join(f"{advantage:.1f}" for advantage in found)
    print(f"rewards {rewards}: advantages {listed}; mean {found.mean():.1f}, deviation {found.std():.1f}")
if not all(
    torch.allclose(found, mean + torch.tensor([-1.0, 0.0, 1.0]), rtol=1e-3, atol=1e-3) for mean, found in seen.items()
):
    print("Changed.")
    sys.exit(1)
PYTHON
