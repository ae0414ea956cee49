"""Whether the embedded model computes on a device what it should: packed, sampled and replayed alike.

    python benchmarks/exactness.py --device cuda --dtype bfloat16

Prints a line a check, and exits with 1 if one fails.
"""

from __future__ import annotations

import argparse
import logging
from unittest import mock

import torch

from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.policy.trial import TOLERANCE
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.prompts import TEMPLATES, render_prompt

TASK_NAMES, EXAMPLES, GROUP = ("diagrams", "reading", "photos"), 4, 8
SAMPLING = Sampling(max_tokens=96)  # more than one stretch of decoding steps
ALIKE = {"float32": 0.99, "bfloat16": 0.0}  # least share of completions that rounding leaves as they are


class Warned(logging.Handler):
    """Keeps what Holdfast warns of: there should be nothing."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


class Replays:
    """Counts the CUDA graphs that are replayed while it is open."""

    def __init__(self) -> None:
        self.count = 0
        original = torch.cuda.CUDAGraph.replay

        def replay(graph: torch.cuda.CUDAGraph) -> None:
            self.count += 1
            original(graph)

        self.counted = mock.patch.object(torch.cuda.CUDAGraph, "replay", replay)


def sample(policy: Policy, prompts: Prompts, in_stretches: bool) -> Completions:
    assert policy.backbone is not None
    policy.backbone.replays = in_stretches  # on the CPU they run one by one
    return policy.sample(prompts, GROUP, SAMPLING, torch.Generator().manual_seed(0))


def worst(differences_BGR: torch.Tensor) -> float:
    """The largest mean over a completion's tokens."""
    return float(differences_BGR.abs().mean(-1).max())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=list(ALIKE))
    options = parser.parse_args()
    torch.set_num_threads(1)
    warned = Warned()
    logging.getLogger("holdfast").addHandler(warned)

    settings = ModelSettings(device=options.device, dtype=options.dtype)
    policy = Policy.load("embedded", settings)
    policy.draw.banned_V[policy.draw.ends] = True  # completions of full length
    examples = [example for name in TASK_NAMES for example in TASKS[name].examples("train", EXAMPLES)]
    prompts = policy.encode(
        [render_prompt(example, "cot", TEMPLATES["embedded"]) for example in examples],
        [example.images for example in examples],
    )
    replays = Replays()
    with replays.counted:
        drawn = sample(policy, prompts, in_stretches=True)
    kept = policy.backbone is not None and policy.backbone.replays
    ordinary = sample(policy, prompts, in_stretches=False)
    with torch.no_grad():
        packed_BGR = policy.group_logprobs(prompts, drawn).logprobs_BGR
        plain_BGR = policy.logprobs_by("plain", prompts, drawn, 1.0).logprobs_BGR
    assert drawn.logprobs_BGR is not None

    most = TOLERANCE[getattr(torch, options.dtype)] / 5  # which is for single tokens; these are means of 96
    apart, redone = worst(packed_BGR - plain_BGR), worst(packed_BGR - drawn.logprobs_BGR)
    same = float((drawn.tokens_BGR == ordinary.tokens_BGR).all(-1).float().mean())
    checks = [
        (f"packed and plain log-probabilities are {apart:.2g} apart in the worst completion", apart <= most),
        (f"sampled and recomputed ones are {redone:.2g} apart in the worst completion", redone <= most),
        (f"{same:.0%} of completions are those of ordinary decoding", same >= ALIKE[options.dtype]),
        (f"the {policy.way} pass", policy.way == "packed"),
        (f"decoding in stretches is {'kept' if kept else 'given up'}", kept),
        ("warnings: " + ("; ".join(warned.messages) or "none"), not warned.messages),
    ]
    if options.device.startswith("cuda"):
        checks.append((f"{replays.count} replays of CUDA graphs", replays.count > 0))
    for text, good in checks:
        print(f"{'ok' if good else 'WRONG'}: {text}")
    return 0 if all(good for _, good in checks) else 1


if __name__ == "__main__":
    raise SystemExit(main())
