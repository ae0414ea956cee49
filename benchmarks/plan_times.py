"""How well `holdfast plan --card` knows what a job takes: the embedded model on one core.

    python benchmarks/plan_times.py            about 3 minutes
    python benchmarks/plan_times.py --quick    a few sizes, once each: whether it runs

Iterations of SFT and GRPO and evaluations are measured (seconds of the processor, the median of several) at
some sizes. Seconds of an operation, a byte, a layer and a patch are fitted to them, none below zero, for the
least sum of squared relative errors; other sizes, left out of that, say how far off such a plan is.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from itertools import combinations, pairwise
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch

from holdfast.experiment.architecture import architecture
from holdfast.experiment.worktime import Lengths, Work, Worker
from holdfast.generate.evaluate import evaluate
from holdfast.generate.generator import Asking
from holdfast.generate.local import LocalGenerator
from holdfast.learning.loop import learn
from holdfast.learning.methods import make_method
from holdfast.learning.stage import Stage
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.prompts import TEMPLATES

# A budget that nothing reaches: as on a GPU, prompts are computed again for learning.
SETTINGS = ModelSettings(device="cpu", token_budget=10**6)


@dataclass(frozen=True)
class Size:
    """Prompts at a time, completions of each, their most tokens and temperature (high: they are long)."""

    kind: str
    prompts: int
    group: int = 1
    tokens: int = 16
    temperature: float = 1.0
    task: str = "photos"

    def text(self) -> str:
        return f"{self.kind}, {self.prompts} × {self.group} × {self.tokens}, {self.task}"


FITTED = [
    Size("sft", 16), Size("sft", 64), Size("sft", 256), Size("sft", 128, task="facts"),
    Size("grpo", 8, 4), Size("grpo", 16, 8), Size("grpo", 64, 8), Size("grpo", 32, 4, task="facts"),
    Size("grpo", 8, 8, 48, 5.0), Size("grpo", 16, 4, 96, 5.0),
    Size("evaluate", 16), Size("evaluate", 64), Size("evaluate", 256), Size("evaluate", 64, 1, 64, 5.0),
    Size("evaluate", 128, task="facts"),
]  # fmt: skip
LEFT_OUT = [
    Size("sft", 32), Size("sft", 128), Size("sft", 48, task="facts"),
    Size("grpo", 16, 4), Size("grpo", 32, 8), Size("grpo", 24, 6, 32, 5.0), Size("grpo", 48, 8, task="facts"),
    Size("evaluate", 32), Size("evaluate", 128), Size("evaluate", 32, 1, 96, 5.0),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--save", action="store_true", help="keep the table in results/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    fitted, left_out = (FITTED[::3], LEFT_OUT[::4]) if options.quick else (FITTED, LEFT_OUT)
    repeats = 2 if options.quick else 6
    measured = {size: measure(size, repeats) for size in (*fitted, *left_out)}
    each = fit([measured[size] for size in fitted])
    lines = ["| sizes | seconds | by the fit | off |", "|---|---:|---:|---:|"]
    for title, sizes in (("fitted", fitted), ("left out", left_out)):
        errors = []
        for size in sizes:
            work, seconds = measured[size]
            errors.append((work * each).total / seconds - 1)
            lines.append(
                f"| {title}: {size.text()} | {seconds:.3f} | {(work * each).total:.3f} | {errors[-1]:+.0%} |"
            )
        sizes_of = [abs(error) for error in errors]
        lines.append(
            f"| **{title}: median, largest** | | | **{median(sizes_of):.0%}, {max(sizes_of):.0%}** |"
        )
    rates = ", ".join(
        f"{rate:.3g} for one of {field.name}"
        for field, rate in zip(fields(each), astuple(each), strict=True)
        if rate
    )
    day = time.strftime("%Y-%m-%d")
    text = "\n".join(
        [
            f"# plan_times, {day}",
            "",
            "`python benchmarks/plan_times.py`",
            "",
            f"Seconds: {rates}.",
            "",
            *lines,
            "",
        ]
    )
    print(text)
    if options.save:
        (Path(__file__).parent / "results" / f"{day}-plan_times.md").write_text(text, encoding="utf-8")


def measure(size: Size, repeats: int) -> tuple[Work, float]:
    """What an iteration or evaluation asks for, and its median seconds; the first is not counted."""
    policy, known = Policy.load("embedded", SETTINGS), architecture(SETTINGS)
    assert known is not None
    task, sampling = TASKS[size.task], Sampling(temperature=size.temperature, max_tokens=size.tokens)
    worker, seen = Worker(known, SETTINGS), list[Lengths]()
    with watched(policy, size.tokens, seen):
        if size.kind == "evaluate":
            examples = task.examples("test", size.prompts)
            asking = Asking("cot", TEMPLATES["embedded"], sampling, ("plan_times",), size.prompts)
            stamps = [time.process_time()]
            for _ in range(repeats + 1):
                evaluate(LocalGenerator(policy), task, examples, asking)
                stamps.append(time.process_time())
            work = worker.sampling(size.prompts, 1, middle(seen), size.prompts)
            return work, seconds_between(stamps)
        settings: dict[str, Any] = {"objective": size.kind, "batch": size.prompts, "learning_rate": 1e-7}
        if size.kind != "sft":
            settings |= {"group_size": size.group, "sampling": sampling}
        method, stamps = make_method(**settings), list[float]()
        items = [(task, example) for example in task.examples("train", 2 * size.prompts)]
        stage = Stage(
            policy, items, method, repeats + 2, TEMPLATES["embedded"], ("plan_times",), lambda: policy
        )
        with tempfile.TemporaryDirectory() as folder:
            learn(
                stage, folder=Path(folder), checkpoint_every=100,
                on_step=lambda *_: stamps.append(time.process_time()),
            )  # fmt: skip
    return worker.learning(method, middle(seen)), seconds_between(stamps)


def seconds_between(stamps: Sequence[float]) -> float:
    return median(after - before for before, after in pairwise(stamps[1:]))


@contextmanager
def watched(policy: Policy, most: int, seen: list[Lengths]) -> Iterator[None]:
    """Notes the lengths of what the policy writes, or learns where nothing is written."""

    def noting(call: Callable[..., Any], writes: bool) -> Callable[..., Any]:
        def noted(prompts: Any, *rest: Any, **options: Any) -> Any:
            result = call(prompts, *rest, **options)
            lengths = (result if writes else rest[0]).mask_BGR.sum(-1).float()
            if writes or not wrote:
                patches = 0 if prompts.pixel_values is None else len(prompts.pixel_values) / len(prompts)
                prompt = prompts.lengths_B.float().mean().item()
                seen.append(Lengths(prompt, lengths.mean().item(), lengths.max().item(), most, patches))
            wrote.extend([True] * writes)
            return result

        return noted

    wrote: list[bool] = []
    with (
        mock.patch.object(policy, "sample", noting(policy.sample, True)),
        mock.patch.object(policy, "group_logprobs", noting(policy.group_logprobs, False)),
    ):
        yield


def middle(seen: Sequence[Lengths]) -> Lengths:
    return Lengths(*(sum(values) / len(seen) for values in zip(*map(astuple, seen), strict=True)))


def fit(measured: Sequence[tuple[Work, float]]) -> Work:
    """Seconds of each amount: least squares of relative errors, over those sets of amounts that leave none
    below zero."""
    rows = torch.tensor(
        [[amount / seconds for amount in astuple(work)] for work, seconds in measured]
    ).double()
    scale = rows.abs().max(dim=0).values.clamp(min=1e-300)
    found: list[tuple[float, list[float]]] = []
    kinds = [index for index in range(rows.shape[1]) if rows[:, index].any()]
    for count in range(1, len(kinds) + 1):
        for chosen in map(list, combinations(kinds, count)):
            part = (rows / scale)[:, chosen]
            rates = torch.linalg.lstsq(part, torch.ones(len(rows), 1).double()).solution[:, 0]
            if (rates >= 0).all():
                each = torch.zeros(rows.shape[1]).double()
                each[chosen] = rates / scale[chosen]
                found.append((float((part @ rates - 1).square().sum()), each.tolist()))
    return Work(*min(found)[1])


if __name__ == "__main__":
    main()
