"""Made-up results of grids, with drift, risk and probes in realistic numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from holdfast.analysis.matrix import accuracy_matrix
from holdfast.analysis.results import MethodRun, Results
from results_helpers import Profile, make_results

LADDER = (5e-5, 1e-4, 2e-4, 4e-4, 8e-4)
GROUPS = ("vision", "projector", "embeddings", "block 0", "block 1", "block 2", "block 3", "head", "other")
RATES = np.linspace(0, 1, 9)  # of eight samples


def make_grid(
    ladder: Sequence[float] = LADDER, kl: Sequence[float] = (), seeds: Sequence[int] = (0,), **more: Any
) -> Results:
    """SFT and GRPO over a shared ladder of learning rates; GRPO also over KL coefficients, if given."""
    profiles: dict[str, Profile] = {}
    axes: dict[str, tuple[str, dict[str, Any]]] = {}
    for position, rate in enumerate(ladder):
        step = position / max(len(ladder) - 1, 1)
        name = f"sft-lr{rate:g}"
        profiles[name] = ("sft", False, False, 0.62 + 0.3 * step, 0.012 + 0.03 * step, 0.006 + 0.012 * step)
        axes[name] = ("sft", {"learning_rate": rate})
        for coefficient in kl or (None,):
            name = f"grpo-lr{rate:g}" + ("" if coefficient is None else f"-kl{coefficient:g}")
            held = 0.0 if coefficient is None else 0.004 * list(kl).index(coefficient)
            profiles[name] = ("grpo", False, False, 0.60 + 0.27 * step - held, 0.004 + 0.012 * step, 0.006)
            more_axes = {} if coefficient is None else {"kl_coef": coefficient}
            axes[name] = ("grpo", {"learning_rate": rate, **more_axes})
    results = make_results(tuple(profiles), seeds=seeds, profiles=profiles, **more)
    runs = tuple(replace(run, family=axes[run.method][0], axes=axes[run.method][1]) for run in results.runs)
    return replace(results, runs=runs)


def with_measures(results: Results) -> Results:
    """The results with drift, risk, probe, calibration and full totals made up for every sequential run."""
    runs = tuple(run if run.joint else _measured(run, results) for run in results.runs)
    return replace(results, runs=runs)


def without_drift_at(stage: int, run: MethodRun) -> MethodRun:
    """The run as if that stage's drift were still to be measured."""
    left = {at: drift for at, drift in run.measured("drift").items() if at != stage}
    return replace(run, measures={**run.measures, "drift": left})


def _measured(run: MethodRun, results: Results) -> MethodRun:
    generator = np.random.default_rng([run.seed, *run.method.encode(), 5])
    done = len(run.curves)
    totals = [
        dict(total) | {"prompt_tokens": 180_000, "flops": 3.4e13 * (1 if run.objective == "sft" else 2.6)}
        for total in run.totals
    ]
    return replace(
        run,
        measures={
            "drift": {stage: _drift(run, results, stage, generator) for stage in range(1, done + 1)},
            "risk": {stage: make_risk(generator) for stage in range(2, done + 1)},
            "probe": {done: {"rows": _probe(run, results)}} if done == len(results.sequence) else {},
            "calibration": {stage: _calibration(run, results, stage) for stage in range(done + 1)},
        },
        totals=totals,
    )


def _drift(run: MethodRun, results: Results, stage: int, generator: np.random.Generator) -> dict[str, Any]:
    order = results.order_of(run)
    accuracy = accuracy_matrix(run, order, stage + 1)
    lost = (
        float(accuracy[stage - 1, : stage - 1].mean() - accuracy[stage, : stage - 1].mean())
        if stage > 1
        else 0.02
    )
    forward = 0.4 + 14 * max(lost, 0)
    kl = []
    for reference in ("base", "previous"):
        for task in (*order[:stage], *results.general):
            near = 1.0 if task == order[stage - 1] else 0.25 if task in order else 0.1
            value = near * forward * (stage**0.5 if reference == "base" else 1) * generator.lognormal(0, 0.15)
            if stage == 1 and reference == "previous":
                continue  # that is the base
            kl.append(
                {
                    "task": task, "reference": reference,
                    "forward": value, "forward_se": 0.06 * value,
                    "reverse": 0.8 * value, "reverse_se": 0.06 * value,
                    "per_token_forward": value / 11, "per_token_reverse": 0.8 * value / 11,
                    "prompts": 32, "samples": 4, "tokens": 1400, "exact": True,
                }
            )  # fmt: skip
    size = 0.02 * forward**0.5 * generator.lognormal(0, 0.1)
    movement = []
    for index, group in enumerate((*GROUPS, "all")):
        part = 1.0 if group == "all" else (0.1, 0.5, 0.3, 0.8, 0.9, 1.1, 1.3, 0.7, 0.2)[index]
        relative = size * part
        movement.append(
            {
                "group": group, "parameters": 150_000, "l2": 40 * relative, "relative": relative,
                "mean_abs": relative / 60, "share_1e-6": 0.99, "share_1e-5": 0.9,
                "share_1e-4": min(20 * relative, 0.8), "share_1e-3": relative,
                "cosine": None if stage == 1 else 0.12 * part + generator.normal(0, 0.02),
            }
        )  # fmt: skip
    return {"kl": kl, "movement": movement}


def _calibration(run: MethodRun, results: Results, stage: int) -> dict[str, Any]:
    order, generator = results.order_of(run), np.random.default_rng([run.seed, stage, 6])
    rows = []
    for task in order[:stage] if stage else order:
        right = [int(record["score"] >= 0.5) for record in run.cells[stage, task]]
        sure = np.clip(generator.normal(0.75, 0.1, len(right)) + 0.1 * np.array(right), 0, 1)
        rows.append({"task": task, "right": right, "confidence": [None, *sure[1:].tolist()]})
    return {"rows": rows}


def make_risk(generator: np.random.Generator, instances: int = 48, slope: float = 0.8) -> dict[str, Any]:
    """Risk rows in which RFT's risk is `slope` × variance × SFT's, with spread."""
    rows = []
    for index in range(instances):
        rate = float(generator.choice(RATES))
        variance = rate * (1 - rate)
        sft = 0.02 * generator.lognormal(0, 0.7) * (1.6 - rate)
        sampled = sft * generator.lognormal(-0.2, 0.3)
        spread = generator.lognormal(0, 0.25)
        norm = generator.lognormal(0, 0.2)
        live = float(variance > 0)
        rows.append(
            {
                "task": "reading", "id": f"reading-{index}", "pass_rate": rate,
                "reward_mean": rate, "reward_variance": variance,
                "risk_sft_answer": sft, "risk_sft_reasoned": None, "risk_sampled": sampled,
                "risk_rft": slope * variance * sft * spread, "risk_rft_std": live * sft * spread,
                "risk_group": variance * sft * spread / 8, "risk_group_std": live * sft * spread / 8,
                "norm_sft_answer": (1.5 - rate) * norm, "norm_sft_reasoned": None,
                "norm_group": 0.9 * variance**0.5 * norm, "norm_group_std": 0.8 * live * norm,
                "effect_sft_answer": -0.02 * (1.5 - rate) * norm + generator.normal(0, 0.004),
                "effect_sft_reasoned": None,
                "effect_group": -0.01 * variance * norm + live * generator.normal(0, 0.002),
                "effect_group_std": -0.008 * live * norm + live * generator.normal(0, 0.003),
            }
        )  # fmt: skip
    return {"instances": rows, "old": 32, "fisher_trace": 810.0, "parameters": 1_200_000, "samples": 8}


def _probe(run: MethodRun, results: Results) -> list[dict[str, Any]]:
    """About two thirds of what was lost comes back."""
    generator = np.random.default_rng([run.seed, *run.method.encode(), 9])
    rows = []
    order = results.order_of(run)
    for stage, task in enumerate(order[:-1], start=1):
        just, end = (
            float(np.mean([record["score"] for record in run.cells[at, task]])) for at in (stage, len(order))
        )
        after = end + generator.uniform(0.5, 0.85) * (just - end)
        items = len(run.cells[stage, task])
        back = round(items * max(after - end, 0)) + 2
        rows.append(
            {
                "task": task, "examples": 16, "steps": 4, "items": items, "before": end, "after": after,
                "recovered": back, "lost_again": 2,
            }
        )  # fmt: skip
    return rows
