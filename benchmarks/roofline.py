"""A step's time on a GPU, predicted part by part from what it asks for. No GPU is needed.

What PyTorch would carry out is counted (`steps/count.py`) at the shapes of released models, for this
build and, with `--base`, for another checkout. Pictures are decoded by this machine's processor.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from steps.arm_holdfast import LEARNING_RATE, Hashed, make_learner, make_policy
from steps.count import ATTENTION, CARDS, KERNEL, LAUNCH, PRODUCTS, Card, Meter
from steps.floor import Rates, floor
from steps.kernels import on_a_gpu
from steps.workload import SHAPES, Case, make_rows

from holdfast.learning import step as learning
from holdfast.policy import stretches
from holdfast.policy.drawing import Recorder
from holdfast.policy.images import PatchMaker
from holdfast.tasks.example import Example

FOLDER = Path(__file__).parent
SAMPLING = ("pictures, CPU", "pictures, GPU", "vision tower", "prefill", "decode")
TRAINING = ("vision forward", "text forward", "head", "recompute", "backward", "optimiser")
# Prompts in a training forward, and whether activations are recomputed.
SETTINGS = ((2, True), (4, False))
# Bytes that a bfloat16 weight's gradient moves for each further part of a batch, and its optimiser moves.
# Of torch's AdamW in bfloat16: weight, gradient and two moments read, three written. Where steps must not be
# rounded away (`learning/bfloat16.py`): gradients and moments in float32, and a weight that is put together,
# stepped and taken apart again by some ten kernels.
ADDED_UP, ADAMW = {False: 6, True: 10}, {False: 14, True: 90}
KEEPS_STEPS = importlib.util.find_spec("holdfast.learning.bfloat16") is not None


def count(case: Case, card: Card) -> Meter:
    """One step of Holdfast's learning loop, as on `card`."""
    meter = Meter(card, SHAPES[case.shape]["text"]["vocab_size"])
    with on_a_gpu(meter):
        policy: Any = make_policy(replace(case, device="meta"))
        if importlib.util.find_spec("holdfast.policy.fused"):  # a build from before has none
            from holdfast.policy import fused

            fused.fuse(policy.model)
    cuts = hasattr(policy.encoder.patches, "device")  # where patches are made: a GPU does it itself
    policy.device = torch.device("cpu")  # where ids lie
    policy.prefill = lambda prompts: None  # as on a GPU
    policy.backbone.replays = True
    policy.checked = policy.replays_checked = policy._replays_checked = True  # older builds'
    if hasattr(policy, "tried"):
        policy.tried.packed = policy.tried.replays = True
    method, objective = make_learner(case, policy)
    task = Hashed("hashed", 1, "", lambda split, count: [], {})
    items = [
        (task, Example(str(index), row.text, row.target, (row.image,)))
        for index, row in enumerate(make_rows(case, case.prompts))
    ]
    meter.alive = 3 * sum(p.numel() * p.element_size() for p in policy.model.parameters())  # and both moments
    _watch_vision(meter, policy.model.model.visual)
    with ExitStack() as stack:
        _time_pictures(meter, policy, cuts, stack)
        stack.enter_context(patch.object(stretches, "_repeat", partial(_replay, meter)))
        stack.enter_context(patch.object(Recorder, "completions", _of_full_length(Recorder.completions)))
        where, name = (learning, "clip") if KEEPS_STEPS else (torch.nn.utils, "clip_grad_norm_")
        stack.enter_context(patch.object(where, name, partial(_clip, meter)))
        stack.enter_context(on_a_gpu(meter))
        with meter.counting("prefill"):
            groups = objective.collect(policy, items, ("benchmark", 0))
            meter.wait()
        meter.training = True
        optimizer: Any = _Update(meter, policy.model, case.prompts // case.micro)
        with meter.counting("text forward"):
            with meter.repeating(optimizer.parts, launched=True):  # one part of the batch stands for all
                learning.step(
                    policy, objective, optimizer, groups.rows(range(case.micro)), method, LEARNING_RATE
                )
            meter.wait()
    return meter


class _Update:
    """Counts what an optimiser would move; gradients of `parts` of a batch were added up before it."""

    def __init__(self, meter: Meter, model: Any, parts: int):
        self.meter, self.model, self.parts = meter, model, parts
        self.param_groups: list[dict[str, Any]] = []

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.model.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        count = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        added_up = ADDED_UP[KEEPS_STEPS] * count * (self.parts - 1) / self.parts
        self.meter.kernel("accumulate", 0.0, added_up, 1.0, "backward")
        self.meter.kernel("adamw", 0.0, ADAMW[KEEPS_STEPS] * count / self.parts, 1.0, "optimiser")


def _clip(meter: Meter, parameters: Any, norm: float, shards: Any = None) -> Any:
    """The norm of all gradients, which are then scaled."""
    size = 4 if KEEPS_STEPS else 2  # of a gradient that was added up
    moved = 3 * size * sum(p.grad.numel() for p in parameters if p.grad is not None)
    meter.kernel("clip", 0.0, moved / meter.times, 1.0, "optimiser")
    return 1.0 if KEEPS_STEPS else torch.ones(())


def _watch_vision(meter: Meter, visual: Any) -> None:
    """What the vision tower's forward pass takes stands for itself."""
    before: list[str | None] = []

    def enter(*_: Any) -> None:
        before.append(meter.part)
        meter.part = "vision forward" if meter.training else "vision tower"

    visual.register_forward_pre_hook(enter)
    visual.register_forward_hook(lambda *_: setattr(meter, "part", before.pop()))


def _time_pictures(meter: Meter, policy: Any, cuts: bool, stack: ExitStack) -> None:
    """Decoding is timed, and cutting where the CPU does it."""
    encode, cutting = policy.encode, 0.0

    def timed_cut(*args: Any) -> Any:
        nonlocal cutting
        start = time.process_time()
        made = PatchMaker.patches(policy.encoder.patches, *args)
        cutting = time.process_time() - start
        return made

    def timed_encode(*args: Any) -> Any:
        with meter.counting(None):
            start = time.process_time()
            prompts = encode(*args)
            seconds = time.process_time() - start
        meter.take("pictures, CPU", seconds - (cutting if cuts else 0.0))
        if cuts:  # 8-bit values are laid out, looked up and written twice
            meter.kernel("cut", 0.0, 3 * prompts.pixel_values.nbytes, 1.0, "pictures, GPU")
        return prompts

    stack.enter_context(patch.object(policy, "encode", timed_encode))
    stack.enter_context(patch.object(policy.encoder.patches, "patches", timed_cut))


def _replay(meter: Meter, once: Any, steps: int, capture: bool) -> bool:
    """One of a stretch's steps is counted, and stands for all."""
    meter.wait()
    with meter.counting("decode"), meter.repeating(steps, launched=False):
        once()
    return True


def _of_full_length(completions: Any) -> Any:
    def whole(recorder: Recorder) -> Any:
        recorder.mask[:] = True
        return completions(recorder)

    return whole


def _count_here(case: Case, card: str) -> dict[str, Any]:
    meter = count(case, CARDS[card])
    parts = {name: (part.seconds, part.kernels, part.bytes) for name, part in meter.parts.items()}
    kinds = {name: part.kinds.most_common(8) for name, part in meter.parts.items()}
    return {"parts": parts, "peak": meter.peak, "kinds": kinds}


def counted(case: Case, card: str, source: Path) -> dict[str, Any]:
    """What `count` says of the build in `source`, in a process of its own."""
    paths = os.pathsep.join([str(source), str(FOLDER)])
    command = [sys.executable, __file__, "--case", case.to_json(), "--card", card]
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{source} could not be counted:\n{run.stderr[-3000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def table(case: Case, card: Card, columns: dict[str, dict[str, Any]]) -> str:
    """Seconds of every part, a column a build and setting."""
    least = floor(case, Rates(card.operations, card.bytes))
    lines = ["| seconds | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]

    def row(name: str, values: list[str]) -> None:
        lines.append(f"| {name} | " + " | ".join(values) + " |")

    def seconds(column: dict[str, Any], names: tuple[str, ...]) -> float:
        return sum(column["parts"].get(name, [0.0])[0] for name in names)

    every = list(columns.values())
    for names, title in ((SAMPLING, "**sampling**"), (TRAINING, "**training and update**")):
        for name in names:
            row(name, [f"{seconds(column, (name,)):.3f}" for column in every])
        row(title, [f"**{seconds(column, names):.2f}**" for column in every])
    whole = [seconds(column, SAMPLING + TRAINING) for column in every]
    row("**the step**", [f"**{total:.2f}**" for total in whole])
    row("of the first column's", [f"{total / whole[0]:.2f}" for total in whole])
    training = [seconds(column, TRAINING) for column in every]
    row("share of the matrix rate in training",
        [f"{least.train_operations / spent / card.operations:.0%}" for spent in training])  # fmt: skip
    row("bandwidth floor of decoding, of its time",
        [f"{least.decode / seconds(column, ('decode',)):.0%}" for column in every])  # fmt: skip
    for index, (name, scale) in enumerate((("kernels, thousands", 1e3), ("bytes, TB", 1e12)), 1):
        for names, title in ((SAMPLING, "sampling"), (TRAINING, "training")):
            sums = [sum(column["parts"].get(part, [0.0] * 3)[index] for part in names) for column in every]
            row(f"{name}, {title}", [f"{total / scale:.1f}" for total in sums])
    row(f"peak memory, GB (of {card.memory / 1e9:.0f})", [f"{column['peak'] / 1e9:.0f}" for column in every])
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    large = [name for name in SHAPES if not name.startswith("tiny")]
    parser.add_argument("--shape", nargs="+", default=large, choices=large)
    parser.add_argument("--card", default="h200", choices=list(CARDS))
    parser.add_argument("--base", type=Path, help="another checkout, to compare with")
    parser.add_argument("--save", action="store_true", help="keep the tables in results/")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(_count_here(Case.from_json(options.case), options.card)))
        return
    card = CARDS[options.card]
    texts = []
    for shape in options.shape:
        case = Case("grpo", 16, 8, 128, 868, words=32, shape=shape, dtype="bfloat16")
        columns = {}
        builds = {"base": options.base, "this": FOLDER.parent} if options.base else {"this": FOLDER.parent}
        for micro, recompute in SETTINGS:
            for build, folder in builds.items():
                name = f"{build}, {micro} prompts{', recompute' if recompute else ''}"
                print(f"{shape}: {name} …", file=sys.stderr, flush=True)
                setting = replace(case, micro_prompts=micro, checkpointing=recompute)
                columns[name] = counted(setting, options.card, folder / "src")
        texts.append(f"## {shape}: {case.name()}, {card.name}\n\n{table(case, card, columns)}\n")
    given = ["DIR" if before == "--base" else word for before, word in pairwise(sys.argv)]
    command = " ".join(["python", "benchmarks/roofline.py", *given])
    attention = ", ".join(f"{kind} {there:.0%} and {back:.0%}" for kind, (there, back) in ATTENTION.items())
    text = (
        f"# roofline, {time.strftime('%Y-%m-%d')}\n\n`{command}`\n\nPredicted, not measured: counted on "
        f"the meta device. Assumed: {card.operations / 1e12:.0f} TFLOP/s, of which products reach "
        f"{PRODUCTS:.0%} and attention, forward and backward, {attention}; {card.bytes / 1e12:.1f} TB/s; "
        f"{KERNEL * 1e6:.1f} µs for each kernel beside its work, {LAUNCH * 1e6:.0f} µs of the host to launch "
        "one. Pictures are seconds of this machine's processor.\n\n" + "\n".join(texts)
    )
    print(text)
    if options.save:
        (FOLDER / "results" / f"{time.strftime('%Y-%m-%d')}-roofline.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
