"""Small experiments to plan and run."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from holdfast.config.experiment import Experiment
from holdfast.config.load import load_experiment
from holdfast.experiment.jobs import Runner
from holdfast.experiment.plan import Plan, make_plan
from holdfast.experiment.progress import Progress
from holdfast.experiment.run import Outcome, run
from holdfast.experiment.store import Store

TINY: dict[str, Any] = {
    "name": "tiny",
    "prompts": "embedded",
    "sequence": ["reading", "counting"],
    "general": ["presence"],
    "general_every_stage": False,
    "train_examples": 16,
    "test_examples": 8,
    "evaluation": {"max_tokens": 16, "batch": 8},
    "defaults": {
        "iterations": 2,
        "learning_rate": 1e-3,
        "batch": 4,
        "group_size": 2,
        "filter_samples": 4,
        "sampling": {"max_tokens": 16},
    },
    "methods": {"sft": {"objective": "sft"}, "grpo": {"objective": "grpo"}},
    "checkpoint_every": 2,
}


def write_config(folder: Path, changes: dict[str, Any] | None = None, name: str = "tiny.yaml") -> Path:
    """The tiny experiment as a file, with top-level keys replaced (or removed, for None)."""
    data = copy.deepcopy(TINY) | {"output": str(folder / "out"), "store": str(folder / "store")}
    data |= changes or {}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    kept = {key: value for key, value in data.items() if value is not None}
    path.write_text(yaml.safe_dump(kept, sort_keys=False))
    return path


def make_experiment(folder: Path, **changes: Any) -> Experiment:
    return load_experiment(write_config(folder, changes))


def run_here(experiment: Experiment, workers: int = 1) -> Outcome:
    """Run an experiment silently, without its report."""
    plan = make_plan(experiment)
    return run(experiment, plan, Store(experiment.store), workers, Progress(Console(quiet=True)))


def learn_here(experiment: Experiment) -> tuple[Plan, Store]:
    """Do the stages alone, in this process; an error of one is raised."""
    plan, store = make_plan(experiment), Store(experiment.store)
    runner = Runner(experiment, plan, store)
    for job in plan.jobs.values():
        if job.kind == "learn":
            runner.run(job, True, lambda *_: None)
    return plan, store


def snapshot(store: Path) -> dict[str, Any]:
    """All that a store holds and that must be the same to the last bit, without clock times."""
    content: dict[str, Any] = {}
    for path in sorted(store.glob("*/[!.]*/**/*")):
        name = str(path.relative_to(store))
        if path.name == "metrics.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            content[name] = [
                {key: value for key, value in row.items() if key not in ("seconds", "tokens_per_s")}
                for row in rows
            ]
        elif path.name in ("records.jsonl", "job.json") or path.suffix == ".safetensors":
            content[name] = path.read_bytes()
    return content
