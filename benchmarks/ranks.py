"""A stage by 1, 2, 4 ... ranks: seconds of an iteration, and of a processor, and whether bits are the same.

    python benchmarks/ranks.py                     the embedded model on the CPU, by 1, 2 and 4 ranks
    python benchmarks/ranks.py --only sft --shard optimizer
    python benchmarks/ranks.py --device cuda --dtype bfloat16 --model Qwen/Qwen2.5-VL-3B-Instruct

Seconds mean something on an idle machine with a core or a card for each rank; those of processors on a busy
one, too; bits always do.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import mean
from typing import Any

METHODS: dict[str, dict[str, Any]] = {
    "sft": {"objective": "sft"},
    "grpo": {"objective": "grpo"},
    "kl": {"objective": "grpo", "kl_coef": 0.1, "updates": 2},
    "remax": {"objective": "remax"},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--shards", type=int, help="by default, as many as the most ranks")
    parser.add_argument("--only", choices=METHODS, nargs="+", default=list(METHODS))
    parser.add_argument("--shard", choices=("none", "optimizer", "full"), default="none")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--lora", type=int, help="rank of adapters")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--group", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=4)
    options = parser.parse_args()
    options.shards = options.shards or max(options.ranks)
    print("method  ranks  seconds/iteration  CPU seconds/iteration  weights")
    for method in options.only:
        for size in options.ranks:
            told = by_ranks(size, method, options)
            seconds = after_the_first(told[0]["seconds"])
            cpu = mean(after_the_first(one["cpu"]) for one in told)
            digests = {one["digest"] for one in told}
            numbers = f"{seconds:17.3f}  {cpu:21.3f}"
            print(f"{method:6}  {size:5}  {numbers}  {' '.join(sorted(digests))}", flush=True)


def after_the_first(seconds: list[float]) -> float:
    """The mean of an iteration: what RFT computes hangs on how many prompts teach. The first one warms up."""
    return mean(seconds[1:] or seconds)


def by_ranks(size: int, method: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What each rank tells of a stage."""
    from holdfast.policy.rendezvous import meeting_point

    point, context = meeting_point(), get_context("spawn")
    connections: list[Connection] = []
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(size):
            ours, theirs = context.Pipe()
            if options.device == "cuda":
                os.environ["CUDA_VISIBLE_DEVICES"] = str(rank)
            arguments = (theirs, point.port, rank, size, method, options, folder)
            context.Process(target=be_rank, args=arguments, daemon=True).start()
            theirs.close()
            connections.append(ours)
        return [connection.recv() for connection in connections]


def be_rank(
    connection: Connection,
    port: int,
    rank: int,
    size: int,
    name: str,
    options: argparse.Namespace,
    folder: str,
) -> None:
    import torch

    from holdfast.learning.loop import learn
    from holdfast.learning.methods import make_method
    from holdfast.learning.stage import Stage
    from holdfast.policy.policy import Policy
    from holdfast.policy.rendezvous import join
    from holdfast.policy.settings import Lora, ModelSettings, Sampling
    from holdfast.tasks.embedded import TASKS
    from holdfast.tasks.prompts import TEMPLATES

    torch.set_num_threads(1)
    team = join(port, rank, size)
    settings = ModelSettings(
        path=options.model,
        device=options.device,
        dtype=options.dtype,
        lora=options.lora and Lora(rank=options.lora, alpha=2 * options.lora),
    )
    rest: dict[str, Any] = {"learning_rate": 1e-3, "batch": options.batch, "shards": options.shards}
    if name != "sft":
        rest |= {"group_size": options.group, "sampling": Sampling(max_tokens=options.tokens)}
    policy, task = Policy.load(options.model, settings), TASKS["reading"]
    stage = Stage(
        policy=policy,
        items=[(task, example) for example in task.examples("train", 4 * options.batch)],
        method=make_method(**METHODS[name], **rest),
        iterations=options.iterations,
        templates=TEMPLATES["embedded"],
        stream=("ranks",),
        load_base=lambda: Policy.load(options.model, settings),
        team=team,
        shard=options.shard,
    )
    seconds: list[float] = []
    cpu = [time.process_time()]

    def on_step(_: int, __: int, row: dict[str, float]) -> None:
        seconds.append(row["seconds"])
        cpu.append(time.process_time())

    learn(stage, folder=Path(folder), checkpoint_every=options.iterations, on_step=on_step)
    content = hashlib.sha256()
    for tensor in policy.model.state_dict().values():
        content.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    taken = [after - before for before, after in pairwise(cpu)]
    connection.send({"seconds": seconds, "cpu": taken, "digest": content.hexdigest()[:12]})


if __name__ == "__main__":
    main()
