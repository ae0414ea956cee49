"""Made-up results with realistic numbers, for tests of measures and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from holdfast.analysis.results import MethodRun, Results

SEQUENCE = ("diagrams", "reading", "photos", "relations", "measures", "tissue", "counting")
SHORT = SEQUENCE[:3]  # where seven tasks would only take longer
GENERAL = ("knowledge", "facts", "presence")
CHANCE = {"diagrams": 0.25, "tissue": 0.3, "presence": 0.5, "knowledge": 0.25, "facts": 0.25}

# Name, objective, joint, style, filter: then accuracy just after training, forgetting per later
# stage, and loss of general accuracy per stage.
Profile = tuple[str, bool, bool, float, float, float]
METHODS: dict[str, Profile] = {
    "sft": ("sft", False, False, 0.90, 0.025, 0.015),
    "grpo": ("grpo", False, False, 0.87, 0.011, 0.008),
    "rloo": ("rloo", False, False, 0.86, 0.013, 0.01),
    "remax": ("remax", False, False, 0.84, 0.018, 0.014),
    "rif_grpo": ("grpo", False, True, 0.86, 0.009, 0.007),
    "joint_sft": ("sft", True, False, 0.89, 0.0, 0.02),
    "joint_grpo": ("grpo", True, False, 0.87, 0.0, 0.005),
}


def make_results(
    methods: Sequence[str] = ("sft", "grpo"),
    seeds: Sequence[int] = (0,),
    items: int = 100,
    sequence: Sequence[str] = SEQUENCE,
    general: Sequence[str] = GENERAL,
    stages_done: int | None = None,
    response: str = "<think>there is one red circle</think>\\boxed{%s}",
    other_style: bool = False,
    general_every_stage: bool = True,
    profiles: Mapping[str, Profile] = METHODS,
) -> Results:
    """Results of the named methods; the last method's last seed ends after `stages_done` stages if given."""

    def run(method: str, seed: int, done: int | None, response: str, style: str) -> MethodRun:
        return _run(method, profiles[method], seed, items, sequence, general, done, response, style)

    runs = []
    for method in methods:
        for seed in seeds:
            last = method == methods[-1] and seed == seeds[-1]
            runs.append(run(method, seed, stages_done if last else None, response, "cot"))
    if not general_every_stage:
        runs = [replace(one, cells=_ends(one, general)) for one in runs]
    other = [run(one.method, one.seed, None, "%s", "direct") for one in runs]
    names = {
        name: {"objective": profiles[name][0], "learning_rate": 2e-4, "iterations": 40} for name in methods
    }
    return Results(
        name="made-up",
        sequence=tuple(sequence),
        general=tuple(general),
        chance={task: CHANCE.get(task) for task in (*sequence, *general)},
        options=frozenset({"diagrams", "presence", "knowledge", "facts"}),
        settings={
            "name": "made-up",
            "model": {"path": "embedded"},
            "sequence": list(sequence),
            "general": list(general),
            "train_examples": 2000,
            "test_examples": items,
            "seeds": list(seeds),
            "methods": names,
        },
        runs=tuple(runs),
        other_style=tuple(other) if other_style else (),
    )


def _run(
    method: str, profile: Profile, seed: int, items: int, sequence: Sequence[str], general: Sequence[str],
    stages_done: int | None, response: str, style: Any,
) -> MethodRun:  # fmt: skip
    objective, joint, filtered, top, loss, general_loss = profile
    generator = np.random.default_rng([seed, *method.encode()])
    last = 1 if joint else len(sequence)
    done = last if stages_done is None else stages_done
    cells = {}
    for column, task in enumerate((*sequence, *general)):
        shared = np.random.default_rng([column, items])  # the base and the items are the same for all
        hard, start = shared.normal(0, 0.35, items), 0.25 + 0.3 * shared.random()
        for stage in range(done + 1):
            if column >= len(sequence):
                mean = 0.96 - general_loss * stage * (1 + column % 3)
            elif joint:
                mean = top - 0.02 if stage else start
            elif stage <= column:
                mean = start + 0.02 * stage
            else:
                mean = top + generator.normal(0, 0.01) - loss * (stage - column - 1)
            noise = np.random.default_rng([stage, column, 0 if stage == 0 else seed + 7]).normal(
                0, 0.12, items
            )
            right = hard + noise < np.quantile(hard + noise, mean)
            cells[stage, task] = _records(task, right, generator if stage else shared, response)
    curve = [_metrics(step, objective) for step in range(40 * (len(sequence) if joint else 1))]
    histogram = [160, 60, 50, 60, 80, 120, 200, 400, 870]
    rif = {"kept": 1840, "total": 2000, "histogram": histogram}
    return MethodRun(
        method=method,
        seed=seed,
        style=style,
        joint=joint,
        objective=objective,
        group_baseline=objective in ("grpo", "rloo"),
        cells=cells,
        curves=[curve] * done,
        filters=[rif if filtered else None] * done,
        totals=[{"seconds": 11.2, "examples": 640, "completions": 5120, "tokens": 61_000}] * done,
    )


def _ends(run: MethodRun, general: Sequence[str]) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """The cells without general benchmarks between the base and the last stage."""
    last = max(stage for stage, _ in run.cells)
    return {cell: rows for cell, rows in run.cells.items() if cell[1] not in general or cell[0] in (0, last)}


def _records(
    task: str, right: np.ndarray, generator: np.random.Generator, response: str
) -> list[dict[str, Any]]:
    lenient = right | (generator.random(len(right)) < 0.4)
    return [
        {
            "id": f"{task}-{index}",
            "prompt": f"how many red circles are there in picture {index} of {task} ?",
            "response": response % ("three" if ok else "3") if "%s" in response else response,
            "answer": "three" if ok else "3",
            "reference": "three",
            "score": float(ok),
            "lenient": float(soft),
            "format": 1.0,
            "tokens": 9 + index % 4,
            "finished": index % 50 != 0,
            "meta": {},
        }
        for index, (ok, soft) in enumerate(zip(right.tolist(), lenient.tolist(), strict=True))
    ]


def _metrics(step: int, objective: str) -> dict[str, float]:
    rise = 1 - np.exp(-step / 12)
    row = {"step": step, "loss": 0.9 - 0.7 * rise, "grad_norm": 0.8 - 0.3 * rise, "learning_rate": 2e-4}
    if objective != "sft":
        accuracy = 0.45 + 0.4 * rise + 0.04 * np.sin(step)
        row |= {
            "loss": 0.02 * np.sin(step),
            "reward": 0.9 * accuracy + 0.1,
            "accuracy": accuracy,
            "format": 0.97 + 0.03 * rise,
            "kl": 0.03 * rise,
            "entropy": 0.35 - 0.2 * rise,
            "length": 11 + rise,
            "clipped": 0.001,
            "zero_variance": 0.2 + 0.4 * rise,
        }
    return row
