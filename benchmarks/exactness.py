"""Whether the embedded model, a random Qwen3.5 and a random Gemma 3 compute on a device what they should:
packed, sampled and replayed alike.

    python benchmarks/exactness.py --device cuda --dtype bfloat16

Prints a line a check, and exits with 1 if one fails.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from unittest import mock

import torch
from PIL import Image
from steps.arm_holdfast import make_policy
from steps.workload import Case, make_rows

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


def embedded(device: str, dtype: str) -> tuple[Policy, Prompts]:
    policy = Policy.load("embedded", ModelSettings(device=device, dtype=dtype))
    policy.draw.banned_V[policy.draw.ends] = True  # completions of full length
    examples = [example for name in TASK_NAMES for example in TASKS[name].examples("train", EXAMPLES)]
    prompts = policy.encode(
        [render_prompt(example, "cot", TEMPLATES["embedded"]) for example in examples],
        [example.images for example in examples],
    )
    return policy, prompts


def random(shape: str, device: str, dtype: str) -> tuple[Policy, Prompts]:
    """A random model."""
    sizes = EXAMPLES, GROUP, SAMPLING.max_tokens, 56
    case = Case("grpo", *sizes, shape=shape, device=device, dtype=dtype)
    policy, rows = make_policy(case), make_rows(case, 1)
    pictures = [[Image.open(BytesIO(row.image)).convert("RGB")] for row in rows]
    return policy, policy.encode([row.text for row in rows], pictures)


def checks(policy: Policy, prompts: Prompts, dtype: str) -> Iterator[tuple[str, bool]]:
    """What was found, and whether it is as it should be."""
    replays = Replays()
    with replays.counted:
        drawn = sample(policy, prompts, in_stretches=True)
    kept = policy.backbone is not None and policy.backbone.replays
    ordinary = sample(policy, prompts, in_stretches=False)
    with torch.no_grad():
        packed_BGR = policy.group_logprobs(prompts, drawn).logprobs_BGR
        plain_BGR = policy.logprobs_by("plain", prompts, drawn, 1.0).logprobs_BGR
    assert drawn.logprobs_BGR is not None

    most = TOLERANCE[getattr(torch, dtype)] / 5  # which is for single tokens; these are means of 96
    apart, redone = worst(packed_BGR - plain_BGR), worst(packed_BGR - drawn.logprobs_BGR)
    same = float((drawn.tokens_BGR == ordinary.tokens_BGR).all(-1).float().mean())
    yield f"packed and plain log-probabilities are {apart:.2g} apart in the worst completion", apart <= most
    yield f"sampled and recomputed ones are {redone:.2g} apart in the worst completion", redone <= most
    yield f"{same:.0%} of completions are those of ordinary decoding", same >= ALIKE[dtype]
    yield f"the {policy.way} pass", policy.way == "packed"
    yield f"decoding in stretches is {'kept' if kept else 'given up'}", kept
    if policy.device.type == "cuda":
        yield f"{replays.count} replays of CUDA graphs", replays.count > 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=list(ALIKE))
    options = parser.parse_args()
    torch.set_num_threads(1)
    warned = Warned()
    logging.getLogger("holdfast").addHandler(warned)

    found = []
    models: dict[str, Callable[[str, str], tuple[Policy, Prompts]]] = {
        "the embedded model": embedded,
        "layers with a state": partial(random, "tiny-qwen3.5"),
        "layers with a window": partial(random, "tiny-gemma3"),
    }
    for name, made in models.items():
        policy, prompts = made(options.device, options.dtype)
        found += [(f"{name}: {text}", good) for text, good in checks(policy, prompts, options.dtype)]
    found.append(("warnings: " + ("; ".join(warned.messages) or "none"), not warned.messages))
    for text, good in found:
        print(f"{'ok' if good else 'WRONG'}: {text}")
    return 0 if all(good for _, good in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
