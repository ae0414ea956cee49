"""Several ranks on this machine."""

from __future__ import annotations

import io
import json
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from holdfast.learning.loop import learn
from holdfast.learning.methods import Shard, make_method
from holdfast.learning.stage import Stage
from holdfast.policy.policy import Policy
from holdfast.policy.rendezvous import join, meeting_point
from holdfast.policy.settings import Lora, ModelSettings, Sampling
from holdfast.policy.team import PATIENCE, Team
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.prompts import TEMPLATES
from processes import FORKED


def together(
    size: int, work: Callable[..., Any], *arguments: Any, patience: float = 30, ranks: Sequence[int] = ()
) -> list[Any]:
    """What `work(team, *arguments)` gives on each of so many ranks; an error is given back as its text.

    Of a rank that died it is None.

    Args:
        ranks: those that are waited for; by default all.
    """
    point = meeting_point()
    connections, processes = [], []
    for rank in range(size):
        ours, theirs = FORKED.Pipe()
        process = FORKED.Process(
            target=_be_rank, args=(theirs, point.port, rank, size, patience, work, arguments), daemon=True
        )
        process.start()
        theirs.close()
        connections.append(ours)
        processes.append(process)
    given: list[Any] = [None] * size
    for rank in ranks or range(size):
        assert wait([connections[rank]], timeout=4 * patience), "the ranks hang"
        with suppress(EOFError):
            given[rank] = torch.load(io.BytesIO(connections[rank].recv_bytes()), weights_only=False)
    for process in processes:
        process.kill()
        process.join()
    return given


def _be_rank(
    connection: Connection,
    port: int,
    rank: int,
    size: int,
    patience: float,
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    os.environ[PATIENCE] = str(patience)
    torch.set_num_threads(1)
    try:
        team = join(port, rank, size)
        given = work(team, *arguments)
    except Exception as error:
        given = f"{type(error).__name__}: {error}"
        if os.environ.get("HOLDFAST_TRACE"):
            traceback.print_exc()
    made = io.BytesIO()
    torch.save(given, made)  # tensors sent as they are would be those of a process that is gone
    connection.send_bytes(made.getvalue())
    os._exit(0)  # whatever the group is at


RFT = {"group_size": 4, "sampling": Sampling(max_tokens=16)}
HEARING = {"kind": "ssu", "examples": 2, "max_tokens": 8}  # it listens to a pass of its own
METHODS: dict[str, dict[str, Any]] = {
    "sft": {"objective": "sft"},
    "grpo": {"objective": "grpo"} | RFT,
    "kl, two updates": {"objective": "grpo", "kl_coef": 0.1, "updates": 2} | RFT,
    "base as reference": {"objective": "rloo", "kl_coef": 0.1, "kl_reference": "base"} | RFT,
    "remax": {"objective": "remax"} | RFT,
    "own answers": {"objective": "sft", "target": "sampled", **RFT},
    "self-distillation": {"objective": "sdft", "sampling": RFT["sampling"]},
    "uneven parts": {"objective": "grpo", "drop_zero_variance": True, "micro_batch": 1} | RFT,
    "lora": {"objective": "grpo"} | RFT,
    "bfloat16": {"objective": "grpo"} | RFT,
    "compact": {"objective": "sft", "optimizer_state": "compact"},
    "muon": {"objective": "sft", "optimizer": "muon"},
    "checkpointed": {"objective": "grpo", "kl_coef": 0.1} | RFT,
    "frozen tower": {"objective": "grpo"} | RFT,
    "some without pictures": {"objective": "sft", "batch": 4},
    "strategies": {
        "objective": "grpo",
        "retention": [{"kind": "sam"}, {"kind": "ewc", "strength": 1}, HEARING, {"kind": "mofo"}],
    }
    | RFT,
}
MODELS = {
    "lora": {"lora": Lora(rank=4, alpha=8)},
    "bfloat16": {"dtype": "bfloat16"},
    "compact": {"dtype": "bfloat16"},
    "checkpointed": {"activation_checkpointing": True},
    "frozen tower": {"freeze": ("vision", "projector")},
    "uneven parts": {"token_budget": 300},
}
TASKS_OF = {"own answers": ("counting",), "some without pictures": ("reading", "facts")}


def learned(
    team: Team, name: str, folder: Path, shards: int = 4, until: int | None = None, shard: Shard = "none"
) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Weights and learning curve of a small stage, which can be killed once it has written a checkpoint."""
    method = make_method(**{"learning_rate": 1e-3, "batch": 8, "shards": shards} | METHODS[name])
    settings = ModelSettings(device="cpu", **MODELS.get(name, {}))
    policy = Policy.load("embedded", settings)
    tasks = [TASKS[one] for one in TASKS_OF.get(name, ("reading",))]
    stage = Stage(
        policy=policy,
        items=[(task, example) for task in tasks for example in task.examples("train", 16 // len(tasks))],
        method=method,
        iterations=2,
        templates=TEMPLATES["embedded"],
        stream=("team",),
        load_base=lambda: Policy.load("embedded", settings),
        hint="{prompt} The answer is {answer}.",
        team=team,
        shard=shard,
    )

    def on_step(done: int, *_: object) -> None:
        if done == until:
            os.kill(os.getpid(), signal.SIGKILL)

    learn(stage, folder=folder, checkpoint_every=1, on_step=on_step)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"], row["tokens_per_s"]
    return {name: tensor.detach().clone() for name, tensor in policy.model.state_dict().items()}, rows


@cache
def alone(name: str) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """What one rank learns by a method."""
    with TemporaryDirectory() as folder:
        (given,) = together(1, learned, name, Path(folder))
    assert isinstance(given, tuple), given
    return given


def check_same(given: list[Any], expected: Any) -> None:
    for rank, one in enumerate(given):
        assert isinstance(one, tuple), one
        assert rank or one[1] == expected[1]  # the others may be done before the last row is written
        for name, tensor in expected[0].items():
            assert torch.equal(one[0][name], tensor), (rank, name)
