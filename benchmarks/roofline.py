"""A step's time on a GPU, predicted part by part from what it asks for; no GPU is needed."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from steps.arm_holdfast import LEARNING_RATE, Hashed, make_policy
from steps.count import CARDS, Card, Meter, on_a_gpu
from steps.workload import SHAPES, Case, make_rows

from holdfast.learning.loop import make_objective, step
from holdfast.learning.settings import Method
from holdfast.policy import stretches
from holdfast.policy.images import PatchMaker
from holdfast.policy.drawing import Recorder
from holdfast.policy.settings import Sampling
from holdfast.tasks.example import Example

FOLDER = Path(__file__).parent


class Update:
    """An optimiser that counts what AdamW moves: weight, gradient and two moments read, three written."""

    def __init__(self, meter: Meter, model: Any):
        self.meter, self.model = meter, model
        self.param_groups: list[dict[str, Any]] = []

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.model.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        moved = 7 * sum(p.numel() * p.element_size() for p in self.model.parameters() if p.requires_grad)
        self.meter.kernel("adamw", 0.0, moved, 1.0, "optimiser")


def count(case: Case, card: Card) -> Meter:
    """One step of Holdfast's learning loop, as on `card`."""
    meter = Meter(card, SHAPES[case.shape]["text"]["vocab_size"])
    with on_a_gpu(meter):
        policy = make_policy(replace(case, device="meta"))
        with suppress(ImportError):
            from holdfast.policy import fused

            fused.fuse(policy.model)
    policy.device = torch.device("cpu")  # where ids lie
    policy.prefill = lambda prompts: None  # as on a GPU
    policy.backbone.replays = True
    policy._checked = policy._replays_checked = True
    method = Method(
        objective=case.objective, style="direct", batch=case.prompts, micro_batch=case.micro,
        group_size=case.group, sampling=Sampling(max_tokens=case.completion), learning_rate=LEARNING_RATE,
    )  # fmt: skip
    task = Hashed("hashed", 1, "", lambda split, count: [], {})
    items = [
        (task, Example(str(index), row.text, row.target, (row.image,)))
        for index, row in enumerate(make_rows(case, case.prompts))
    ]
    objective = make_objective(method, {"direct": "{prompt}"}, policy, lambda: policy)

    encode = policy.encode

    patches = policy.encoder.patches
    cuts = hasattr(patches, "device")  # a GPU does
    cutting = 0.0

    def timed_cut(*args: Any) -> Any:
        nonlocal cutting
        start = time.perf_counter()
        made = PatchMaker.patches(patches, *args)
        cutting = time.perf_counter() - start if cuts else 0.0
        return made

    def timed_encode(*args: Any) -> Any:
        with meter.counting(None):
            start = time.perf_counter()
            prompts = encode(*args)
            seconds = time.perf_counter() - start - cutting
        meter.take("pictures (CPU)", seconds)
        if cuts:  # 8-bit values are laid out, looked up and written twice
            meter.kernel("cut", 0.0, 3 * prompts.pixel_values.nbytes, 1.0, "pictures (GPU)")
        return prompts

    def clip(parameters: Any, norm: float) -> torch.Tensor:
        moved = 3 * sum(p.grad.numel() * p.grad.element_size() for p in parameters)
        meter.kernel("clip", 0.0, moved, 1.0, "optimiser")
        return torch.ones(())

    def replay(once: Any, count: int, capture: bool) -> bool:
        """One of a stretch's steps is counted, and stands for all."""
        before = {name: replace(part, kinds=part.kinds.copy()) for name, part in meter.parts.items()}
        host, device = meter.host, meter.device
        with meter.counting("decode"):
            meter.replaying = True
            once()
            meter.replaying = False
        part, old = meter.parts["decode"], before.get("decode", type(meter.parts["decode"])())
        for field in ("seconds", "kernels", "bytes", "operations", "device"):
            setattr(part, field, getattr(part, field) + (count - 1) * (getattr(part, field) - getattr(old, field)))
        for kind in part.kinds:
            part.kinds[kind] += (count - 1) * (part.kinds[kind] - old.kinds[kind])
        meter.host = meter.device = max(host, device) + count * (max(meter.host, meter.device) - max(host, device))
        return True

    visual = policy.model.model.visual
    before: list[str | None] = []

    def enter(*_: Any) -> None:
        before.append(meter.part)
        meter.part = "vision tower, training forward" if meter.training else "vision tower, sampling"

    visual.register_forward_pre_hook(enter)
    visual.register_forward_hook(lambda *_: setattr(meter, "part", before.pop()))
    weights = sum(p.numel() * p.element_size() for p in policy.model.parameters())
    meter.alive = 3 * weights  # and both moments
    policy.encode = timed_encode
    patches.patches = timed_cut
    completions = Recorder.completions

    def whole(recorder: Recorder) -> Any:
        recorder.mask[:] = True
        return completions(recorder)

    with patch.object(stretches, "_repeat", replay), patch.object(Recorder, "completions", whole), on_a_gpu(meter):
        with meter.counting("prefill"):
            groups = objective.collect(policy, items, ("benchmark", 0))
            meter.wait()
        meter.training = True
        with meter.counting("training forward"), patch.object(torch.nn.utils, "clip_grad_norm_", clip):
            step(policy, objective, Update(meter, policy.model), groups, method, LEARNING_RATE)
            meter.wait()
    return meter


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="qwen2.5-vl-3b")
    parser.add_argument("--card", default="h200")
    parser.add_argument("--micro", type=int, default=2)
    parser.add_argument("--no-checkpointing", action="store_true")
    options = parser.parse_args()
    case = Case("grpo", 16, 8, 128, 868, words=32, shape=options.shape, dtype="bfloat16",
                micro_prompts=options.micro, checkpointing=not options.no_checkpointing)
    meter = count(case, CARDS[options.card])
    for name, part in meter.parts.items():
        print(f"{name:35} {part.seconds:7.3f} s  device {part.device:7.3f}  {part.kernels:9.0f} kernels  {part.bytes/1e9:8.1f} GB {part.operations:.3g} op")
        for kind, s in part.kinds.most_common(int(os.environ.get("TOP","3"))):
            print(f"      {kind:40} {s:.4f}")
    print("peak", meter.peak / 1e9)


if __name__ == "__main__":
    main()
