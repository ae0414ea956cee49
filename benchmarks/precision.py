"""Training in bfloat16 against training in float32: the embedded model, the same steps, each optimiser state.

    python benchmarks/precision.py            about 25 minutes on one core
    python benchmarks/precision.py --quick    30 steps: whether it runs

Every arm starts from the same weights and sees the same batches. `plain` is torch's AdamW on bfloat16
weights, what a first try would do. Length and cosine compare what an arm moved the weights by with what
float32 moved them by, both as they are saved.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from holdfast.generate.evaluate import evaluate
from holdfast.generate.generator import Asking
from holdfast.generate.local import LocalGenerator
from holdfast.learning import loop
from holdfast.learning.methods import Method, make_method
from holdfast.learning.stage import Stage
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.prompts import TEMPLATES

TASK, TRAIN, TEST = TASKS["photos"], 1024, 500
METHODS: dict[str, dict[str, Any]] = {
    "sft": {"objective": "sft", "batch": 64},
    "grpo": {"objective": "grpo", "batch": 16, "group_size": 8, "sampling": Sampling(max_tokens=32)},
}
ARMS = [  # dtype, state; None: torch's AdamW
    ("float32", "float32"), ("bfloat16", "float32"), ("bfloat16", "compact"), ("bfloat16", "kahan"),
    ("bfloat16", None),
]  # fmt: skip
NAMES = {"float32": "float32", "compact": "compact", "kahan": "kahan", None: "plain"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=2e-5)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    steps = 30 if options.quick else options.steps
    torch.set_num_threads(1)
    print(f"{TASK.name}, {steps} steps at {options.rate:g}; accuracy (%) on {TEST} test items\n")
    print("| way | weights | state | before | after | length | cosine | weights changed |")
    print("|---|---|---|---:|---:|---:|---:|---:|", flush=True)
    for way, settings in METHODS.items():
        expected = None
        for dtype, state in ARMS:
            before, after, moved, changed = trained(
                {**settings, "learning_rate": options.rate}, dtype, state, steps
            )
            expected = moved if expected is None else expected
            length = moved.norm() / expected.norm()
            cosine = torch.nn.functional.cosine_similarity(moved, expected, dim=0)
            print(
                f"| {way} | {dtype} | {NAMES[state]} | {before:.1f} | {after:.1f} "
                f"| {length:.3f} | {cosine:.3f} | {changed:.0%} |",
                flush=True,
            )


def trained(
    settings: dict[str, Any], dtype: Any, state: Any, steps: int
) -> tuple[float, float, torch.Tensor, float]:
    """Accuracy before and after, what the weights moved by, the share that moved."""
    policy = Policy.load("embedded", ModelSettings(device="cpu", dtype=dtype))
    method = make_method(**settings, optimizer_state=state or "float32")
    start, before = flat(policy), accuracy(policy)
    items = [(TASK, example) for example in TASK.examples("train", TRAIN)]
    optimizer = torch_adamw if state is None else loop.make_optimizer
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(loop, "make_optimizer", optimizer):
        stage = Stage(policy, items, method, steps, TEMPLATES["embedded"], ("precision",), lambda: policy)
        loop.learn(stage, folder=Path(folder), checkpoint_every=steps, on_step=lambda *_: None)
    moved = flat(policy) - start
    return before, accuracy(policy), moved, float((moved != 0).float().mean())


def torch_adamw(model: torch.nn.Module, method: Method, stream: tuple[object, ...]) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        model.parameters(), method.learning_rate, method.betas, weight_decay=method.weight_decay, fused=True
    )


def accuracy(policy: Policy) -> float:
    asking = Asking("cot", TEMPLATES["embedded"], Sampling(temperature=0, max_tokens=32), (), batch=125)
    records = evaluate(LocalGenerator(policy), TASK, TASK.examples("test", TEST), asking)
    return 100 * sum(record["score"] for record in records) / len(records)


def flat(policy: Policy) -> torch.Tensor:
    return torch.cat([parameter.detach().float().flatten() for parameter in policy.model.parameters()])


if __name__ == "__main__":
    main()
