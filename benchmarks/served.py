"""A stage of GRPO whose answers the policy draws itself, and one whose answers a vLLM server draws.

    python benchmarks/served.py http://127.0.0.1:8000/v1 --version 0.33.0 --model MODEL --dtype bfloat16

The server is started as docs/scale.md says, with the same model. Told are means of an iteration without its
first: seconds (whose parts a push of the weights is one of), how far the server's log-probabilities are from
the policy's (nats; the most of any iteration as well), and the share of right answers, which should agree.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from holdfast.generate.served import ServedGenerator
from holdfast.generate.settings import Served
from holdfast.learning.loop import learn
from holdfast.learning.methods import make_method
from holdfast.learning.stage import Stage
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Lora, ModelSettings, Sampling
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.prompts import TEMPLATES


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--version", required=True, help="of vLLM, as it reports it")
    parser.add_argument("--name", default="policy", help="what the server calls the model")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--lora", type=int, help="rank of adapters")
    parser.add_argument("--task", choices=TASKS, default="reading")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    options = parser.parse_args()
    served = Served(kind="served", url=options.url, model=options.name, version=options.version)
    print("drawn by    seconds     gap  most gap  right, %  last, %")
    for name, settings in (("the policy", None), ("the server", served)):
        rows = curve(settings, options)
        later = rows[1:] or rows
        gaps = [row.get("sampler_gap", 0.0) for row in rows]
        right = [100 * row["accuracy"] for row in rows]
        print(
            f"{name}  {mean(row['seconds'] for row in later):7.3f}  {mean(gaps):6.1g}  {max(gaps):8.1g}  "
            f"{mean(right):8.1f}  {mean(right[-3:]):7.1f}",
            flush=True,
        )


def curve(served: Served | None, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of a stage, one for each iteration."""
    model = ModelSettings(
        path=options.model,
        device=options.device,
        dtype=options.dtype,
        lora=options.lora and Lora(rank=options.lora, alpha=2 * options.lora),
    )
    policy, task = Policy.load(options.model, model), TASKS[options.task]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(
            policy=policy,
            items=[(task, example) for example in task.examples("train", 16 * options.batch)],
            method=make_method(
                objective="grpo",
                learning_rate=options.learning_rate,
                batch=options.batch,
                group_size=options.group,
                sampling=Sampling(max_tokens=options.tokens),
            ),
            iterations=options.iterations,
            templates=TEMPLATES["embedded" if options.model == "embedded" else "standard"],
            stream=("served",),
            load_base=lambda: Policy.load(options.model, model),
            sampler=None if served is None else ServedGenerator(served, policy, Path(folder) / "served"),
        )
        learn(
            stage,
            folder=Path(folder),
            checkpoint_every=options.iterations,
            on_step=lambda _, __, row: rows.append(row),
        )
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
