"""Steps on weights in parts: by Holdfast's `shard: full`, and by PyTorch's FSDP2 as its users write it.

    python benchmarks/fsdp.py                 the embedded model on the CPU, by 2 and 4 ranks that gloo joins
    python benchmarks/fsdp.py --save          and a dated table in benchmarks/results

Each rank has the model three times and steps them in turn, on the same few batches of as many shards as there
are ranks. Batches are collected beforehand, on the weights of the start: sampling is in no step. All take
Holdfast's packed pass, its loss and its AdamW, and compute layers once more in the backward pass. On a CPU
Holdfast writes layers out in fewer operations, which FSDP2's hooks keep it from: one way is its own without.
Processor seconds mean something on a busy machine, too; the clock's on an idle one with a core for each rank.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from holdfast.learning.groups import Groups
from holdfast.learning.methods import Method, make_method
from holdfast.learning.optimizer import make_optimizer
from holdfast.learning.stage import Stage
from holdfast.learning.step import step
from holdfast.policy.blocks import blocks_of
from holdfast.policy.policy import Policy
from holdfast.policy.rendezvous import join, meeting_point
from holdfast.policy.settings import EMBEDDED, ModelSettings, Sampling
from holdfast.policy.shards import Shards
from holdfast.policy.team import Team
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.prompts import TEMPLATES

WAYS = LEAN, STOCK, FSDP2 = "Holdfast", "Holdfast, transformers' layers", "FSDP2"
METHODS: dict[str, dict[str, Any]] = {"sft": {"objective": "sft"}, "grpo": {"objective": "grpo"}}
BATCHES = 4
TASKS_OF = {"sft": ("reading",), "grpo": ("reading", "facts")}  # which take turns; facts have no picture


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--only", choices=METHODS, nargs="+", default=list(METHODS))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--group", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20, help="besides the first, which warms up")
    parser.add_argument("--save", action="store_true", help="a dated table in benchmarks/results")
    options = parser.parse_args()
    lines = [
        "| method | ranks | by | seconds | CPU seconds of a rank | kB a rank | weights, off one process's |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    print("\n".join(lines))
    for name in options.only:
        for size in options.ranks:
            (alone,), ranks = (by_ranks(number, name, size, options) for number in (1, size))
            for row in rows(name, alone, ranks):
                print(row, flush=True)
                lines.append(row)
    if options.save:
        save(lines, options.steps)


def save(lines: Sequence[str], steps: int) -> None:
    day = datetime.now(UTC).date().isoformat()
    text = (
        f"# fsdp, {day}\n\n`python benchmarks/fsdp.py {' '.join(sys.argv[1:])}`\n\n"
        "The embedded model (1.27 M weights, float32), a thread a rank, gloo, by torch "
        f"{torch.__version__}; {os.cpu_count()} cores under a load of {os.getloadavg()[2]:.0f}. Seconds are "
        f"of a step, medians of {steps} after one that warms up, ways in turn. A rank's kB are its weights, "
        "gradients and moments between steps. Weights are off by a share of what one process's moved by.\n\n"
    )
    path = Path(__file__).parent / "results" / f"{day}-fsdp.md"
    path.write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


def rows(name: str, alone: dict[str, Any], ranks: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A row of the table for each way."""
    for way in WAYS:
        told = [one[way] for one in ranks]
        seconds, cpu = (mean(median(one[clock]) for one in told) for clock in ("seconds", "cpu"))
        kept = max(one["bytes"] for one in told) / 1000
        expected = alone[LEAN if way == LEAN else STOCK]["weights"]
        distance = (told[0]["weights"] - expected).norm() / (expected - alone["start"]).norm()
        off = f"{distance:.0e}" if distance else "same bits"
        yield f"| {name} | {len(ranks)} | {way} | {seconds:.3f} | {cpu:.3f} | {kept:,.0f} | {off} |"


def by_ranks(size: int, name: str, shards: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What each of so many ranks tells."""
    point, context = meeting_point(), get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(rank) for rank in range(size)]
        processes = [
            context.Process(target=be_rank, args=(file, point.port, rank, size, name, shards, options))
            for rank, file in enumerate(files)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return [torch.load(file, weights_only=True) for file in files]


def be_rank(file: Path, port: int, rank: int, size: int, *arguments: Any) -> None:
    torch.set_num_threads(1)
    torch.save(measure(join(port, rank, size), *arguments), file)


def measure(team: Team, name: str, shards: int, options: argparse.Namespace) -> dict[str, Any]:
    """Of each way what steps take, what it keeps on this rank, and where it ends; and the `start` of all.

    One process alone goes Holdfast's ways.
    """
    rest: dict[str, Any] = {"learning_rate": 1e-3, "batch": options.batch, "shards": shards}
    if name != "sft":
        rest |= {"group_size": options.group, "sampling": Sampling(max_tokens=options.tokens)}
    method = make_method(**METHODS[name], **rest)
    stages = {way: stage_of(method, way) for way in WAYS}
    policy, batches = stages[STOCK].policy, collected(stages[STOCK], TASKS_OF[name])
    told: dict[str, Any] = {"start": torch.cat([one.detach().flatten() for one in policy.model.parameters()])}
    arms: dict[str, Holdfast | Theirs] = {}
    for way, stage in stages.items():
        stage.policy.check(batches[0].prompts, batches[0].completions)  # while it is whole
        if way != FSDP2:
            arms[way] = Holdfast(stage, team)
        elif team.size > 1:
            arms[way] = Theirs(stage, team)
        told[way] = {"seconds": [], "cpu": []}
    for groups in islice(cycle(batches), options.steps + 1):
        for way, arm in arms.items():
            team.all_gather([0])
            seconds, cpu = time.perf_counter(), time.process_time()
            arm.step(groups)
            told[way]["cpu"].append(time.process_time() - cpu)
            told[way]["seconds"].append(time.perf_counter() - seconds)
    for way, arm in arms.items():
        clocks = {clock: times[1:] for clock, times in told[way].items()}
        told[way] = clocks | {"bytes": kept(arm.policy.model, arm.optimizer), "weights": arm.weights()}
    return told


def stage_of(method: Method, way: str) -> Stage:
    # To checkpoint activations, a model is in training mode, in which transformers' own layers are called.
    settings = ModelSettings(device="cpu", activation_checkpointing=way != LEAN)
    return Stage(
        policy=Policy.load(EMBEDDED, settings),
        items=[],
        method=method,
        iterations=0,
        templates=TEMPLATES["embedded"],
        stream=("fsdp",),
        load_base=lambda: Policy.load(EMBEDDED, settings),
    )


def collected(stage: Stage, tasks: Sequence[str]) -> list[Groups]:
    """Batches in which tasks take turns: each rank has pictures, without which FSDP2's would not meet.

    Completions are pushed up and down in turn, so that each prompt teaches and none is left out of a pass.
    """
    size, objective = stage.method.batch, stage.method.make(stage)
    columns = [
        [(TASKS[one], example) for example in TASKS[one].examples("train", BATCHES * size)] for one in tasks
    ]
    items = [item for row in zip(*columns, strict=True) for item in row]
    batches = []
    for place in range(BATCHES):
        groups = objective.collect(stage.policy, items[place * size : (place + 1) * size], ("fsdp", place))
        signs_G = 1.0 - 2 * (torch.arange(groups.advantages_BG.shape[1]) % 2)
        batches.append(replace(groups, advantages_BG=signs_G.expand_as(groups.advantages_BG)))
    return batches


class Holdfast:
    """The learning loop's own step."""

    def __init__(self, stage: Stage, team: Team) -> None:
        self.policy, self.method = stage.policy, stage.method
        self.policy.share(self.method.shards, team, full=True)
        self.objective = self.method.make(stage)
        self.optimizer = make_optimizer(self.policy.model, self.method)

    def step(self, groups: Groups) -> None:
        step(self.policy, self.objective, self.optimizer, groups, self.method, self.method.learning_rate)

    def weights(self) -> torch.Tensor:
        self.policy.share()
        return torch.cat([one.detach().flatten() for one in self.policy.model.parameters()])


class Theirs:
    """A step by FSDP2: each layer is sharded by itself, and the rest with the root."""

    def __init__(self, stage: Stage, team: Team) -> None:
        self.policy, self.method, self.team = stage.policy, stage.method, team
        self.objective = self.method.make(stage)
        self.shards = Shards(team.size)
        mesh, model = init_device_mesh("cpu", (team.size,)), self.policy.model
        for block in blocks_of(model):
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
        fully_shard(model, mesh=mesh)
        model.loss = lambda groups: self.objective.loss(self.policy, groups).loss
        register_fsdp_forward_method(model, "loss")
        self.optimizer = make_optimizer(model, self.method)

    def step(self, groups: Groups) -> None:
        tokens, groups = groups.completions.mask_BGR.sum(), self.objective.weighed(groups)
        own = groups.rows(self.shards.of(groups.computed())[self.team.rank])
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.policy.model.loss(own) * self.team.size / tokens  # FSDP2 takes the mean over ranks
        loss.backward()
        nn.utils.clip_grad_norm_(self.policy.model.parameters(), self.method.clip_grad)
        self.optimizer.step()

    def weights(self) -> torch.Tensor:
        whole = [one.full_tensor() for one in self.policy.model.parameters()]
        return torch.cat([one.detach().flatten() for one in whole])


def kept(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Bytes of weights, gradients and moments on this rank."""
    tensors = [one.data for one in model.parameters()]
    tensors += [one.grad for one in model.parameters() if one.grad is not None]
    tensors += [value for state in optimizer.state.values() for value in state.values()]
    memories = [local(one).untyped_storage() for one in tensors]
    return sum({memory.data_ptr(): memory.nbytes() for memory in memories}.values())


def local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


if __name__ == "__main__":
    main()
