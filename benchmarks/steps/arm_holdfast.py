"""One side of a benchmark: steps of Holdfast's own learning loop. Run by `steps.duel`."""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass
from typing import Any

import torch

from holdfast.learning.loop import step
from holdfast.learning.methods import make_method
from holdfast.learning.optimizer import make_optimizer
from holdfast.learning.stage import Stage
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.tasks.example import Example
from holdfast.tasks.task import Task
from steps.channel import Channel, Memory, now
from steps.workload import Case, make_model, make_processor, make_rows

LEARNING_RATE = 1e-5


@dataclass(frozen=True)
class Hashed(Task):
    """A task whose score is a hash of the answer, so that completions of a group differ."""

    def score(self, answer: str | None, example: Example) -> float:
        return zlib.crc32((answer or "").encode()) % 1000 / 999


def make_policy(case: Case) -> Policy:
    processor = make_processor(case)
    model = make_model(case, processor.tokenizer)
    settings: dict[str, Any] = {"dtype": case.dtype, "device": case.device}
    policy = Policy(model, processor, ModelSettings(**settings, activation_checkpointing=case.checkpointing))
    if case.objective != "sft":
        policy.draw.banned_V[policy.draw.ends] = True  # completions of full length
    return policy


def main(case: Case, steps: int) -> None:
    channel = Channel()
    torch.set_num_threads(case.threads)
    policy = make_policy(case)
    memory = Memory(case.device)
    sampled = {"group_size": case.group, "sampling": Sampling(max_tokens=case.completion)}
    sampled = {} if case.objective == "sft" else sampled
    method = make_method(
        objective=case.objective,
        style="direct",
        batch=case.prompts,
        micro_batch=case.micro,
        learning_rate=LEARNING_RATE,
        **sampled,
    )
    task = Hashed("hashed", 1, "", lambda split, count: [], {})
    items = [
        (task, Example(str(index), row.text, row.target, (row.image,)))
        for index, row in enumerate(make_rows(case, steps * case.prompts))
    ]
    objective = method.make(Stage(policy, items, method, steps, {"direct": "{prompt}"}, (), lambda: policy))
    optimizer = make_optimizer(policy.model, method)
    channel.send(parameters=sum(parameter.numel() for parameter in policy.model.parameters()))
    for number in range(steps):
        if not channel.wait():
            return
        start = now(case)
        batch = items[number * case.prompts : (number + 1) * case.prompts]
        groups = objective.collect(policy, batch, ("benchmark", number))
        middle = now(case)
        step(policy, objective, optimizer, groups, method, LEARNING_RATE)
        end = now(case)
        channel.send(
            seconds=end - start,
            sample=middle - start,
            train=end - middle,
            prompt_tokens=int(groups.prompts.mask_BP.sum()),
            completion_tokens=int(groups.completions.mask_BGR.sum()),
            peak=memory.peak(),
            way=policy.way,
        )


if __name__ == "__main__":
    main(Case.from_json(sys.argv[1]), int(sys.argv[2]))
