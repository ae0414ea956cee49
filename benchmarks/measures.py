"""What the measures of drift, movement, risk and re-alignment cost, against the stage they describe.

    python benchmarks/measures.py                  the embedded model on the CPU, one thread
    python benchmarks/measures.py --save           and a dated table in benchmarks/results

Costs are CPU seconds of this process: on one thread they are its wall time on an idle machine, and
hardly depend on what else runs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from holdfast.generate.generator import Asking
from holdfast.generate.rollouts import Item
from holdfast.learning.loop import learn
from holdfast.learning.methods import Method, make_method
from holdfast.learning.stage import Stage
from holdfast.measures.drift import Drift
from holdfast.measures.kl import divergences
from holdfast.measures.movement import movement
from holdfast.measures.probe import Probe
from holdfast.measures.realign import realign
from holdfast.measures.risk import Risk
from holdfast.measures.updates import risks
from holdfast.policy.policy import Policy
from holdfast.policy.settings import EMBEDDED, ModelSettings, Sampling
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.prompts import TEMPLATES
from holdfast.tasks.task import Split

TEMPLATE = TEMPLATES["embedded"]
SAMPLING = Sampling(max_tokens=32)
STAGE = "measures"  # the task that the stages train on
OLD = ("diagrams", "reading", "photos", "relations")
ITERATIONS = 40
STAGES = {
    "GRPO, 40 × 16 × 8": make_method(objective="grpo", learning_rate=1e-4, batch=16, sampling=SAMPLING),
    "SFT, 40 × 64": make_method(objective="sft", learning_rate=2e-4, batch=64),
}
MOST = 0.2  # of a stage


def items(task: str, count: int, split: Split = "train") -> list[Item]:
    return [(TASKS[task], example) for example in TASKS[task].examples(split, count)]


def seconds(work: Callable[[], object], runs: int) -> float:
    """Median CPU time of `runs`, after one of warm-up where there are several."""
    times = []
    for run in range(runs + (runs > 1)):
        start = time.process_time()
        work()
        if run or runs == 1:
            times.append(time.process_time() - start)
    return statistics.median(times)


def stage(method: Method) -> float:
    policy = Policy.load("embedded", ModelSettings(device="cpu"))
    with tempfile.TemporaryDirectory() as folder:
        return seconds(
            lambda: learn(
                Stage(policy, items(STAGE, 1024), method, ITERATIONS, TEMPLATE, ("stage",), lambda: policy),
                folder=Path(folder), checkpoint_every=20, on_step=lambda *_: None,
            ),
            runs=1,
        )  # fmt: skip


def measures(runs: int) -> list[tuple[str, str, float]]:
    """Name, sizes, and CPU seconds of each measure at its default sizes."""

    def load() -> Policy:
        return Policy.load("embedded", ModelSettings(device="cpu"))

    policy = load()
    references = {"base": policy.snapshot(), "previous": policy.snapshot()}
    asking = Asking("cot", TEMPLATE, SAMPLING, ("bench",), batch=64)
    asked = {task: items(task, Drift().prompts, "test") for task in TASKS}
    whole = seconds(lambda: (load(), load(), load()), runs)
    whole += seconds(lambda: divergences(policy, references, asked, asking), runs)
    whole += seconds(lambda: movement(EMBEDDED, EMBEDDED, EMBEDDED), runs)
    made = [
        (
            "drift",
            f"{len(TASKS)} tasks × {Drift().prompts} prompts; three policies loaded and compared",
            whole,
        )
    ]
    old = [item for task in OLD for item in items(task, Risk().old // len(OLD))]
    new = items(STAGE, Risk().instances)
    in_small = replace(asking, batch=16)
    cost = seconds(load, runs)
    cost += seconds(lambda: risks(policy, old, new, in_small, samples=Risk().samples), runs)
    sizes = f"{Risk().old} old and {Risk().instances} new items, groups of {Risk().samples}"
    made += [("risk", sizes, cost), ("both", "", whole + cost)]
    task, probe = TASKS[STAGE], Probe()
    cost = seconds(
        lambda: realign(
            policy, task, task.examples("train", probe.examples), task.examples("test", 64),
            replace(asking, sampling=Sampling(temperature=0, max_tokens=32)),
            steps=probe.steps, learning_rate=probe.learning_rate,
        ),
        runs,
    )  # fmt: skip
    sizes = f"one task: {probe.examples} examples, {probe.steps} steps, 64 test items"
    made.append(("re-alignment probe", sizes, cost))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="of each measure, after one of warm-up")
    parser.add_argument("--save", action="store_true", help="write the table to benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    stages = {name: stage(method) for name, method in STAGES.items()}
    heads = [f"of {name} ({cost:.1f} s)" for name, cost in stages.items()]
    lines = [
        f"| measure | sizes | CPU seconds | {' | '.join(heads)} |",
        "|---|---|---:" + "|---:" * len(stages) + "|",
    ]
    for name, sizes, cost in measures(options.runs):
        shares = [
            f"{cost / whole:.0%}{'' if cost <= MOST * whole else ' (over)'}" for whole in stages.values()
        ]
        lines.append(f"| {name} | {sizes} | {cost:.2f} | {' | '.join(shares)} |")
    today = datetime.now(UTC).date().isoformat()
    table = "\n".join(lines)
    text = (
        f"# measures, {today}\n\n`python benchmarks/measures.py --save`\n\n"
        f"The embedded model (1.3 M weights, float32) on a CPU, 1 thread; torch {torch.__version__}. CPU "
        f"seconds, the median of {options.runs} runs after one of warm-up; a stage is run once. Target: at "
        f"most {MOST:.0%} of the stage.\n\n{table}\n"
    )
    print(text)
    if options.save:
        (Path(__file__).parent / "results" / f"{today}-measures.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
