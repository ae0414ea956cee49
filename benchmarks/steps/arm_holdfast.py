"""One side of a benchmark: steps of Holdfast's own learning loop. Run by `steps.arm`."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from holdfast.learning.optimizer import make_optimizer
from holdfast.learning.step import step
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Lora, ModelSettings, Sampling
from holdfast.tasks.example import Example
from holdfast.tasks.prompts import Style
from holdfast.tasks.task import Task
from steps.channel import Channel
from steps.meter import Memory, now
from steps.parts import taken_apart
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
    if case.lora is not None:
        settings["lora"] = Lora(rank=case.lora, alpha=2 * case.lora)
    policy = Policy(model, processor, ModelSettings(**settings, activation_checkpointing=case.checkpointing))
    if case.objective != "sft":
        policy.draw.banned_V[policy.draw.ends] = True  # completions of full length
    return policy


def method_settings(case: Case) -> dict[str, Any]:
    """What a case says of the method."""
    settings: dict[str, Any] = {
        "objective": case.objective,
        "style": "direct",
        "batch": case.prompts,
        "micro_batch": case.micro,
        "learning_rate": LEARNING_RATE,
    }
    if case.objective != "sft":
        settings |= {"group_size": case.group, "sampling": Sampling(max_tokens=case.completion)}
    return settings


def make_learner(case: Case, policy: Policy) -> tuple[Any, Any]:
    """The method and its objective, in this checkout's words or in those of an older one (`--base`)."""
    settings = method_settings(case)
    templates: dict[Style, str] = {"direct": "{prompt}"}
    try:
        from holdfast.learning.methods import make_method
        from holdfast.learning.stage import Stage
    except ImportError:  # before methods were classes
        from holdfast.learning.loop import make_objective  # type: ignore[attr-defined]  # noqa: I001
        from holdfast.learning.settings import Method  # type: ignore[import-not-found]

        older = Method(**settings)
        return older, make_objective(older, templates, policy, lambda: policy)
    method = make_method(**settings)
    return method, method.make(Stage(policy, [], method, 1, templates, (), lambda: policy))


def main(case: Case, steps: int) -> None:
    channel = Channel()
    torch.set_num_threads(case.threads)
    policy = make_policy(case)
    memory = Memory(case.device)
    method, objective = make_learner(case, policy)
    optimizer = make_optimizer(policy.model, method)
    batches = make_batches(case, steps)
    channel.send(parameters=sum(parameter.numel() for parameter in policy.model.parameters()))

    def make_step(number: int) -> dict[str, Any]:
        start = now(case)
        groups = objective.collect(policy, batches[number], ("benchmark", number))
        middle = now(case)
        step(policy, objective, optimizer, groups, method, LEARNING_RATE)
        end = now(case)
        return {
            "seconds": end - start,
            "sample": middle - start,
            "train": end - middle,
            "prompt_tokens": int(groups.prompts.mask_BP.sum()),
            "completion_tokens": int(groups.completions.mask_BGR.sum()),
            "peak": memory.peak(),
            "way": policy.way,
        }

    for number in range(steps):
        command = channel.wait()
        if command == "step":
            channel.send(**make_step(number))
        elif command == "parts":
            with taken_apart(policy, objective, optimizer) as parts:
                told = make_step(number)
            channel.send(**told, parts=parts.seconds)
        elif command.startswith("profile "):
            channel.send(**profiled(case, lambda: make_step(number), Path(command.removeprefix("profile "))))  # noqa: B023
        else:
            return


def make_batches(case: Case, steps: int) -> list[list[tuple[Task, Example]]]:
    """The examples of each step."""
    task = Hashed("hashed", 1, "", lambda split, count: [], {})
    items: list[tuple[Task, Example]] = [
        (task, Example(str(index), row.text, row.target, (row.image,)))
        for index, row in enumerate(make_rows(case, steps * case.prompts))
    ]
    return [items[start : start + case.prompts] for start in range(0, len(items), case.prompts)]


def profiled(case: Case, work: Callable[[], dict[str, Any]], file: Path) -> dict[str, Any]:
    """Do it under torch's profiler: a trace for chrome://tracing in `file`, its sums in `file`.txt."""
    activities = [ProfilerActivity.CPU]
    if case.device.startswith("cuda"):
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities, record_shapes=True) as profiler:
        told = work()
    order = "self_cuda_time_total" if case.device.startswith("cuda") else "self_cpu_time_total"
    profiler.export_chrome_trace(str(file))
    text = profiler.key_averages().table(sort_by=order, row_limit=40, max_name_column_width=80)
    file.with_name(f"{file.name}.txt").write_text(text, encoding="utf-8")
    return told


if __name__ == "__main__":
    main(Case.from_json(sys.argv[1]), int(sys.argv[2]))
