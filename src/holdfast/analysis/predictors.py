"""What predicts forgetting? Each candidate against what was forgotten, over all methods and stages.

After RL's Razor (arXiv 2509.04259), which finds that KL(base ‖ policy) on prompts of the new task
explains forgetting whatever the method. Two levels: *stages* (each stage after the first of every
chain, against the change it made to earlier tasks) and *chains* (base to end, against FM, BWT and
the change of the general benchmarks). A chain is one method with one seed.

Strength is the rank correlation (Spearman) and the R² of y = a + b·x + c·x². Divergences span orders
of magnitude over rates and methods, and one of a hundred nats would bend a parabola to itself alone, so
x is their logarithm (RL's Razor, at one scale, takes them as they are). Stages of one chain are alike,
and so are the seeds of one method, so intervals resample whole methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.analysis.association import cluster_weights, quadratic, spearman, unseen_r2
from holdfast.analysis.bootstrap import RESAMPLES, Estimate, estimate
from holdfast.analysis.matrix import run_matrices
from holdfast.analysis.metrics import metrics_of
from holdfast.analysis.results import MethodRun, Results

MIN_UNITS = 5  # fewer lie on or near any parabola
MIN_METHODS = 8  # fewer cannot say how methods differ: intervals would be far too narrow
LEAST_KL = 1e-4  # nats; what is below is sampling noise

# Name -> what it is. Kullback-Leibler divergences are in nats per completion.
STAGE_PREDICTORS = {
    "kl_forward_new": "KL(previous ‖ policy), new task",
    "kl_reverse_new": "KL(policy ‖ previous), new task",
    "kl_forward_old": "KL(previous ‖ policy), earlier tasks",
    "kl_reverse_old": "KL(policy ‖ previous), earlier tasks",
    "kl_forward_general": "KL(previous ‖ policy), general",
    "kl_reverse_general": "KL(policy ‖ previous), general",
    "l2": "Weight movement, L2",
    "relative": "Weight movement, relative",
    "share_1e-4": "Share of weights moved by > 1e-4",
    "cosine": "Cosine with the previous update",
    "progress": "Accuracy gained on the new task, over the base's",
}
CHAIN_PREDICTORS = {
    "kl_forward_trained": "KL(base ‖ policy), trained tasks",
    "kl_reverse_trained": "KL(policy ‖ base), trained tasks",
    "kl_forward_general": "KL(base ‖ policy), general",
    "kl_reverse_general": "KL(policy ‖ base), general",
    "l2": "Weight movement, L2, summed over stages",
    "cosine": "Cosine of successive updates, mean",
    "learned": "Learned: just trained minus base",
}
STAGE_OUTCOMES = {"old": "Earlier tasks", "general": "General"}  # change of accuracy on these
CHAIN_OUTCOMES = {"fm": "FM", "bwt": "BWT", "general": "General"}


@dataclass(frozen=True)
class Unit:
    """A stage of a chain, or a chain. What was not measured is NaN.

    Attributes:
        stage: 1 is the first; None for a whole chain.
        predictors, outcomes: by name. Outcomes are changes of accuracy: negative is forgetting.
    """

    method: str
    stage: int | None
    predictors: Mapping[str, float]
    outcomes: Mapping[str, float]


@dataclass(frozen=True)
class Strength:
    """How well one predictor explains one outcome.

    Attributes:
        units, methods: that have both.
        rho: Spearman's rank correlation.
        r2: R² of the quadratic fit, as RL's Razor reports it. Noise scores about 2 / (units − 1).
        adjusted: R² corrected for the two slopes of the fit: noise scores about 0.
        unseen: R² on methods the fit has not seen (leave one method out), below 0 where the fit is
            worse than the mean of the others.
        curve: a, b, c of the fit to `fitted` values.
    """

    predictor: str
    outcome: str
    units: int
    methods: int
    rho: Estimate
    r2: float
    adjusted: Estimate
    unseen: float
    curve: tuple[float, float, float]


@dataclass(frozen=True)
class Study:
    """Strengths of all predictors, and the units behind those by stage."""

    stages: list[Unit]
    by_stage: list[Strength]
    by_chain: list[Strength]


def study(results: Results, resamples: int = RESAMPLES) -> Study:
    """Every predictor against every outcome; what has too few units to be fitted is left out."""
    stages = [unit for run in results.runs for unit in stage_units(run, results)]
    chains = [unit for run in results.runs for unit in chain_units(run, results)]
    return Study(
        stages,
        _strengths(stages, STAGE_PREDICTORS, STAGE_OUTCOMES, resamples),
        _strengths(chains, CHAIN_PREDICTORS, CHAIN_OUTCOMES, resamples),
    )


def stage_units(run: MethodRun, results: Results) -> list[Unit]:
    """One unit per stage after the first whose drift was measured."""
    order = results.order_of(run)
    if run.joint:
        return []
    accuracy_ST, general_SG = run_matrices(run, results)
    units = []
    for stage in range(2, len(order) + 1):
        drift = run.measured("drift").get(stage)
        if drift is None:
            continue
        change_T = accuracy_ST[stage] - accuracy_ST[stage - 1]
        kl = [row for row in drift["kl"] if row["reference"] == "previous"]
        prompts = {"new": order[stage - 1 : stage], "old": order[: stage - 1], "general": results.general}
        whole = _whole(drift)
        units.append(
            Unit(
                run.method,
                stage,
                predictors=_divergences(kl, prompts)
                | {name: _number(whole.get(name)) for name in ("l2", "relative", "share_1e-4", "cosine")}
                | {"progress": float(accuracy_ST[stage, stage - 1] - accuracy_ST[0, stage - 1])},
                outcomes={
                    "old": float(change_T[: stage - 1].mean()),
                    "general": _mean(general_SG[stage] - general_SG[stage - 1]),
                },
            )
        )
    return units


def chain_units(run: MethodRun, results: Results) -> list[Unit]:
    """The whole chain as one unit, where the drift of its last stage was measured."""
    order = results.order_of(run)
    drifts = run.measured("drift")
    last = drifts.get(len(order))
    if run.joint or len(order) < 2 or last is None:
        return []
    accuracy_ST, general_SG = run_matrices(run, results)
    found = {name: float(value) for name, value in metrics_of(accuracy_ST, general_SG).items()}
    kl = [row for row in last["kl"] if row["reference"] == "base"]
    movement = [_whole(drift) for drift in drifts.values()]
    return [
        Unit(
            run.method,
            None,
            predictors=_divergences(kl, {"trained": order, "general": results.general})
            | {
                # A sum with a stage missing would look like a short way.
                "l2": float(sum(_number(row.get("l2")) for row in movement))
                if len(movement) == len(order)
                else np.nan,
                "cosine": _mean([_number(row.get("cosine")) for row in movement]),
                "learned": found["learned"],
            },
            outcomes={name: found[name] for name in CHAIN_OUTCOMES},
        )
    ]


def fitted(predictor: str, values_N: np.ndarray) -> np.ndarray:
    """What the parabola is fitted to: the logarithm (base 10) of divergences, others as they are."""
    if not predictor.startswith("kl_"):
        return values_N
    return np.log10(np.maximum(values_N, LEAST_KL))


def strength(
    units: Sequence[Unit], predictor: str, outcome: str, resamples: int = RESAMPLES
) -> Strength | None:
    """One predictor against one outcome, or None where there is too little to fit."""
    there = [
        unit
        for unit in units
        if np.isfinite(unit.predictors.get(predictor, np.nan)) and np.isfinite(unit.outcomes[outcome])
    ]
    x_N = fitted(predictor, np.array([unit.predictors[predictor] for unit in there]))
    y_N = np.array([unit.outcomes[outcome] for unit in there])
    if len(there) < MIN_UNITS or np.ptp(x_N) == 0 or np.ptp(y_N) == 0:
        return None
    names = list(dict.fromkeys(unit.method for unit in there))
    method_N = np.array([names.index(unit.method) for unit in there])
    weights_BN = cluster_weights(method_N, resamples)
    r2_B, curve_B3 = quadratic(x_N, y_N, weights_BN)
    units_B = weights_BN.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        adjusted_B = np.where(units_B > 3, 1 - (1 - r2_B) * (units_B - 1) / (units_B - 3), np.nan)
    return Strength(
        predictor,
        outcome,
        units=len(there),
        methods=len(names),
        rho=_interval(spearman(x_N, y_N, weights_BN), len(names)),
        r2=float(r2_B[0]),
        adjusted=_interval(adjusted_B, len(names)),
        unseen=unseen_r2(x_N, y_N, method_N),
        curve=(float(curve_B3[0, 0]), float(curve_B3[0, 1]), float(curve_B3[0, 2])),
    )


def _strengths(
    units: list[Unit], predictors: Mapping[str, str], outcomes: Mapping[str, str], resamples: int
) -> list[Strength]:
    found = [
        strength(units, predictor, outcome, resamples) for outcome in outcomes for predictor in predictors
    ]
    return [entry for entry in found if entry is not None]


def _interval(draws_B: np.ndarray, methods: int) -> Estimate:
    """The observed value; its interval is NaN where methods are too few."""
    if methods < MIN_METHODS or np.isnan(draws_B[1:]).all():
        return Estimate(float(draws_B[0]), np.nan, np.nan)
    return estimate(draws_B)


def _divergences(rows: list[dict[str, Any]], prompts: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Mean KL in both directions over each kind of prompts."""
    return {
        f"kl_{direction}_{kind}": _mean([_number(row[direction]) for row in rows if row["task"] in tasks])
        for kind, tasks in prompts.items()
        for direction in ("forward", "reverse")
    }


def _whole(drift: Mapping[str, Any]) -> Mapping[str, Any]:
    """The movement of all weights together."""
    return next((row for row in drift["movement"] if row["group"] == "all"), {})


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of what is there; NaN if nothing is."""
    present = np.asarray(values, dtype=float)
    present = present[~np.isnan(present)]
    return float(present.mean()) if len(present) else float("nan")
