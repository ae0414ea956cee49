"""A whole experiment, stage by stage, by `holdfast run` and by a script on TRL's trainers.

    python benchmarks/experiment.py                       three tasks, SFT and GRPO, all cells: 5 minutes
    python benchmarks/experiment.py --arms holdfast --base ../older    this checkout against another
    python benchmarks/experiment.py --grow                what doubling a size costs each arm

The arms (the other one is `experiment_trl.py`, made to be read) get one file with the model, the tasks, the
prompts and all sizes, and run one after the other, each in a process of its own on one thread. Both start
with nothing and end with every cell judged; `holdfast run` makes its report, too. Printed are the seconds
that each process took, from its start, and the accuracies, which agree but for their random draws. TRL is
needed here alone: pip install --no-deps trl==1.16.0
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from threading import Timer
from typing import Any

import yaml
from steps.arm import FOLDER, Rival, environment
from steps.command import RESULTS, lacks_trl, machine, source_of
from steps.tables import markdown

from holdfast.tasks.prompts import TEMPLATES

TASKS = ("reading", "measures", "counting", "photos", "relations", "tissue", "diagrams")
CLI = "from holdfast.cli import main; main()"  # as far back as there are commands
TRAIN = 1024  # examples of a task
LONGER = 24  # words that double a prompt: image and question are as many tokens
Z = 1.96  # of a 95 % interval
HOLDFAST, TRL, OLDER = "Holdfast", "TRL", "base"
BASE = "base model"
METHODS = ("sft", "grpo")
PARTS = ("sft: training", "grpo: training", "judging", "rest")
LABEL = re.compile(
    r"(?:(?P<method>\w+) seed \d+ stage (?P<stage>\d+)|base)\b.*: (?:evaluate (?P<task>\w+)|learn)$"
)

Cell = tuple[str, int, str]  # method, stages it has been through, task that it is judged on


@dataclass(frozen=True)
class Sizes:
    """How large the experiment is.

    Attributes:
        items: that a cell judges.
        words: put in front of every prompt; they say nothing.
    """

    tasks: tuple[str, ...]
    iterations: int
    items: int
    group: int = 8
    words: int = 0

    def doubled(self) -> dict[str, Sizes]:
        """One size at a time."""
        return {
            "twice the tasks": replace(self, tasks=more(self.tasks)),
            "twice the items judged": replace(self, items=2 * self.items),
            "twice the group": replace(self, group=2 * self.group),
            "twice the prompt": replace(self, words=self.words + LONGER),
        }

    def experiment(self, seed: int) -> dict[str, Any]:
        """The file that every arm is given, for `holdfast run`."""
        return {
            "name": "experiment",
            "model": {"path": "embedded", "device": "cpu"},
            "prompts": {"cot": "think " * self.words + TEMPLATES["embedded"]["cot"]},
            "sequence": list(self.tasks),
            "train_examples": TRAIN,
            "test_examples": self.items,
            "evaluation": {"temperature": 0, "max_tokens": 32, "batch": 125},
            "seeds": [seed],
            "threads": 1,
            "defaults": {
                "style": "cot", "iterations": self.iterations, "weight_decay": 0.01, "clip_grad": 1.0,
                "sampling": {"temperature": 1.0, "max_tokens": 32},
            },
            "methods": {
                "sft": {"objective": "sft", "target": "answer", "batch": 64, "learning_rate": 2e-4},
                "grpo": {
                    "objective": "grpo", "batch": 16, "group_size": self.group, "learning_rate": 1e-4,
                },
            },
        }  # fmt: skip


@dataclass
class Outcome:
    """What one arm took, and what came of it.

    Attributes:
        cpu, wall: seconds of its process.
        peak: bytes of its process, the idle model and all libraries included.
        parts: wall seconds of training and of judging, as the arm tells them, and of all the rest.
        right: items answered right, by cell.
    """

    cpu: float
    wall: float
    peak: int
    parts: dict[str, float]
    right: dict[Cell, float]


@dataclass
class Arm:
    """A side of the benchmark, with an outcome for each round; `failure` says why there are no more."""

    rival: Rival
    outcomes: list[Outcome]
    failure: str = ""

    def accuracy(self, method: str, stage: int, tasks: Sequence[str], items: int) -> float:
        """Mean over tasks and rounds."""
        return fmean(
            outcome.right[method, stage, task] / items for outcome in self.outcomes for task in tasks
        )

    def median(self, quantity: str) -> float:
        if quantity in PARTS:
            return median(outcome.parts[quantity] for outcome in self.outcomes)
        return median(getattr(outcome, quantity) for outcome in self.outcomes)


def more(tasks: Sequence[str]) -> tuple[str, ...]:
    """These and as many others."""
    others = [task for task in TASKS if task not in tasks][: len(tasks)]
    if len(others) < len(tasks):
        raise SystemExit(f"--grow doubles the tasks: start with at most {len(TASKS) // 2}.")
    return (*tasks, *others)


def race(rivals: Sequence[Rival], sizes: Sizes, rounds: int, limit: float) -> list[Arm]:
    """Each arm once a round, in turns that are reversed every other round; a round has a seed of its own."""
    arms = [Arm(rival, [], "not installed" if lacks_trl(rival) else "") for rival in rivals]
    for seed in range(rounds):
        for arm in arms if seed % 2 == 0 else reversed(arms):
            if arm.failure:
                continue
            try:
                arm.outcomes.append(run(arm.rival, sizes.experiment(seed), limit))
            except RuntimeError as error:
                arm.failure = str(error)
            told = arm.failure or f"{arm.outcomes[-1].cpu:.1f} s"
            print(f"  {arm.rival.name}, seed {seed}: {told}", file=sys.stderr, flush=True)
    return arms


def run(rival: Rival, experiment: dict[str, Any], limit: float) -> Outcome:
    """The whole experiment by one arm, in a process of its own and a folder with nothing in it.

    Raises:
        RuntimeError: it failed or took more than `limit` seconds.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file, result = folder / "experiment.yaml", folder / "result.json"
        folders = {"output": str(folder / "out"), "store": str(folder / "store")}
        file.write_text(yaml.safe_dump(experiment | folders, sort_keys=False), encoding="utf-8")
        command = ["-c", CLI, "run", str(file), "--workers", "1"]
        if rival.name == TRL:
            command = [str(FOLDER / "experiment_trl.py"), str(file), str(result)]
        with (folder / "said").open("w+") as said:
            start = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, *command],
                stdout=said, stderr=said, cwd=folder, env=environment(rival, experiment["threads"]),
            )  # fmt: skip
            clock = Timer(limit, process.kill)
            clock.start()
            _, status, usage = os.wait4(process.pid, 0)
            clock.cancel()
            wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                said.seek(0)
                print(said.read()[-3000:], file=sys.stderr)
                late = f", killed after {limit:g} s" if wall >= limit else ""
                raise RuntimeError(f"exit code {process.returncode}{late}")
        parts, right = told(result) if rival.name == TRL else stored(folder / "store")
    parts["rest"] = wall - sum(parts.values())
    return Outcome(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024, parts, right)


def told(result: Path) -> tuple[dict[str, float], dict[Cell, float]]:
    """Parts and right answers, as TRL's script wrote them."""
    read = json.loads(result.read_text(encoding="utf-8"))
    return read["seconds"], {(method, stage, task): right for method, stage, task, right in read["cells"]}


def stored(store: Path) -> tuple[dict[str, float], dict[Cell, float]]:
    """The same from the jobs in a store, which an older Holdfast writes alike."""
    seconds: defaultdict[str, float] = defaultdict(float)
    right = {}
    for file in store.glob("*/*/job.json"):
        label = LABEL.match(json.loads(file.read_text(encoding="utf-8"))["label"])
        result = json.loads((file.parent / "result.json").read_text(encoding="utf-8"))
        assert label is not None, f"{file} is a job that the experiment does not have"
        method, task = label["method"] or BASE, label["task"]
        seconds["judging" if task else f"{method}: training"] += result["seconds"]
        if task:
            right[method, int(label["stage"] or 0), task] = result["accuracy"] * result["examples"]
    return dict(seconds), right


def interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of so many items: Wilson, JASA 22 (1927), 209."""
    middle = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    half = Z / (1 + Z * Z / count) * math.sqrt(share * (1 - share) / count + (Z / (2 * count)) ** 2)
    return middle - half, middle + half


def costs(arms: Sequence[Arm]) -> str:
    """What each arm took, and how many times Holdfast's that is."""
    ran = [arm for arm in arms if arm.outcomes]
    rows = [["median of rounds", *(arm.rival.name for arm in ran)]]
    rows[0] += [f"{arm.rival.name} / {ran[0].rival.name}" for arm in ran[1:]]
    quantities = {"CPU s": "cpu", "wall s": "wall", **{f"{part}, wall s": part for part in PARTS}}
    for name, quantity in (quantities | {"peak memory, MB": "peak"}).items():
        values = [arm.median(quantity) for arm in ran]
        unit = 1e6 if quantity == "peak" else 1
        shown = [f"{value / unit:.0f}" if unit > 1 else f"{value:.1f}" for value in values]
        rows.append([name, *shown, *(f"**{value / values[0]:.2f}×**" for value in values[1:])])
    return markdown(rows)


def accuracies(arms: Sequence[Arm], sizes: Sizes) -> tuple[str, int, int]:
    """Every cell and the means after each method's last stage, with intervals.

    Returns:
        The table, how many of its rows have intervals that all overlap, and how many rows there are.
    """
    ran = [arm for arm in arms if arm.outcomes]
    rows = [["accuracy, %", *(arm.rival.name for arm in ran), *["intervals overlap"] * (len(ran) > 1)]]
    agreeing = 0
    stages = range(1, len(sizes.tasks) + 1)
    after = [(BASE, 0), *((method, stage) for method in METHODS for stage in stages)]
    lines: list[tuple[str, str, int, tuple[str, ...]]] = [
        (f"{method}{f' after {sizes.tasks[stage - 1]}' if stage else ''}: {task}", method, stage, (task,))
        for method, stage in after
        for task in sizes.tasks
    ]
    lines += [(f"**{method}, AvgAcc**", method, len(stages), sizes.tasks) for method in METHODS]
    for name, method, stage, tasks in lines:
        shares = [arm.accuracy(method, stage, tasks, sizes.items) for arm in ran]
        bounds = [interval(share, sizes.items * len(tasks)) for share in shares]
        overlap = max(low for low, _ in bounds) <= min(high for _, high in bounds)
        agreeing += overlap
        shown = [
            f"{100 * share:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
            for share, (low, high) in zip(shares, bounds, strict=True)
        ]
        rows.append([name, *shown, *["yes" if overlap else "**no**"] * (len(ran) > 1)])
    return markdown(rows), agreeing, len(lines)


def growth(rivals: Sequence[Rival], sizes: Sizes, rounds: int, limit: float) -> tuple[str, bool]:
    """CPU seconds at each size, and against those of the smallest.

    Returns:
        The table, and whether all arms did all of it.
    """
    rows: list[list[str]] = []
    least: dict[str, float] = {}
    whole = True
    for name, size in ({"the first": sizes} | sizes.doubled()).items():
        print(f"{name} …", file=sys.stderr, flush=True)
        arms = race(rivals, size, rounds, limit)
        whole = whole and all(not arm.failure for arm in arms)
        seconds = {arm.rival.name: arm.median("cpu") for arm in arms if arm.outcomes}
        least = least or seconds
        if not rows:
            rows = [["CPU s", *(cell for arm in seconds for cell in (arm, "times the first"))]]
            rows[0] += [f"{arm} / {HOLDFAST}" for arm in seconds if arm != HOLDFAST]
        row = [cell for arm in least for cell in _grown(seconds.get(arm), least[arm])]
        others = [seconds.get(arm) for arm in least if arm != HOLDFAST]
        own = seconds.get(HOLDFAST)
        row += [f"{other / own:.2f}" if other and own else "–" for other in others]
        rows.append([name, *row])
    return markdown(rows), whole


def _grown(seconds: float | None, least: float) -> tuple[str, str]:
    return ("–", "–") if seconds is None else (f"{seconds:.1f}", f"{seconds / least:.2f}")


def text(command: str, what: str, sizes: Sizes, rounds: int) -> str:
    """The head of a saved table."""
    return (
        f"# {what}, {time.strftime('%Y-%m-%d')}\n\n`{command}`\n\n{machine('cpu')}. The embedded model (1.3 "
        f"M weights, float32), one thread, one arm after the other. {', '.join(sizes.tasks)}; SFT (batch 64) "
        f"and GRPO (16 prompts × {sizes.group}), {sizes.iterations} iterations a stage, {TRAIN} training "
        f"examples a task. The base and each stage's model answer {sizes.items} items of each task, "
        f"greedily. Rounds: {rounds}, each with a seed of its own.\n\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS[:3], choices=TASKS, metavar="TASK")
    parser.add_argument("--iterations", type=int, default=40, help="of a stage")
    parser.add_argument("--items", type=int, default=400, help="judged in a cell")
    parser.add_argument("--arms", nargs="+", default=["holdfast", "trl"], choices=["holdfast", "trl"])
    parser.add_argument("--base", type=Path, metavar="DIR", help="another checkout of Holdfast, one more arm")
    parser.add_argument("--rounds", type=int, default=1, help="of all arms, each with another seed")
    parser.add_argument("--limit", type=float, default=1800, metavar="S", help="most seconds of an arm")
    parser.add_argument("--grow", action="store_true", help="double one size after another; tell the time")
    parser.add_argument("--save", action="store_true", help=f"keep the table in {RESULTS.name}/")
    options = parser.parse_args()
    rivals = [Rival(HOLDFAST, "holdfast")] if "holdfast" in options.arms else []
    if options.base is not None:
        rivals.append(Rival(OLDER, "holdfast", source_of(options.base)))
    if "trl" in options.arms:
        rivals.append(Rival(TRL, "experiment_trl"))
    sizes = Sizes(tuple(options.tasks), options.iterations, options.items)
    command = " ".join(["python", "benchmarks/experiment.py", *sys.argv[1:]])
    name = "experiment-growth" if options.grow else "experiment"
    said = text(command, name, sizes, options.rounds)
    if options.grow:
        table, whole = growth(rivals, sizes, options.rounds, options.limit)
        said += f"Words that double a prompt say nothing to the model.\n\n{table}\n"
    else:
        arms = race(rivals, sizes, options.rounds, options.limit)
        whole = all(not arm.failure for arm in arms)
        said += tables(arms, sizes)
    print(said, flush=True)
    if options.save:
        (RESULTS / f"{time.strftime('%Y-%m-%d')}-{name}.md").write_text(said, encoding="utf-8")
    return 0 if whole else 1


def tables(arms: Sequence[Arm], sizes: Sizes) -> str:
    """Costs and accuracies of the arms that ran, and why others did not."""
    said = "".join(f"{arm.rival.name}: {arm.failure}.\n\n" for arm in arms if arm.failure)
    if not any(arm.outcomes for arm in arms):
        return said
    table, agreeing, rows = accuracies(arms, sizes)
    said += f"{costs(arms)}\n\n{table}\n\n"
    if sum(bool(arm.outcomes) for arm in arms) > 1:
        said += f"In {agreeing} of {rows} rows the intervals overlap. "
    return said + (
        "Intervals are Wilson's, of the items (95 %); that the arms draw other batches and other tokens "
        "is not in them.\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
