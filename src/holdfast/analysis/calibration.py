"""Are answers as often right as their probability says? Expected calibration error, with intervals.

Of N answers with confidences c and y = 1 where right, in M bins of equal mass (the answers in the order of
their confidence, cut into M parts as equal as can be; equal ones in the order of the items),

    ECE = Σ_m |Σ_{i in m} (c_i − y_i)| / N        Brier = Σ_i (c_i − y_i)² / N

(Naeini et al., AAAI 2015; Guo et al., arXiv 1706.04599). Bins of equal mass have the smaller bias (Roelofs et
al., arXiv 2012.08668), yet a bias there is: chance moves every bin off 0, so that ECE is above 0 even of
perfect confidences. How far (`chance`) is found by drawing y from c. An interval by resampling has that bias
twice; it is mirrored at the value, which takes it off again.

Axes: B resamples with the data themselves in front, R seeds, N items of a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from holdfast import rng
from holdfast.analysis.bootstrap import RESAMPLES, Estimate, combine_seeds, estimate, item_weights
from holdfast.analysis.results import MethodRun, Results

BINS = 10  # M
_BOUNDS = {"over": (-1.0, 1.0)}  # of what is not between 0 and 1
Moment = Literal["base", "just", "end"]


@dataclass(frozen=True)
class Judged:
    """What a policy answered to a task's items.

    Attributes:
        right_N: 1 where it is right, else 0.
        confidence_N: probability of its answer; NaN where it gave none.
    """

    task: str
    right_N: np.ndarray
    confidence_N: np.ndarray

    def sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which items have an answer, the least confident first; their confidences and whether right."""
        order = np.argsort(self.confidence_N, kind="stable")  # NaN goes last
        order = order[: int((~np.isnan(self.confidence_N)).sum())]
        return order, self.confidence_N[order], self.right_N[order]

    def draws(self) -> dict[str, np.ndarray]:
        """Sums over the answers of each resample, by name [B], and `ece`."""
        order, confidence, right = self.sorted()
        weights = item_weights(self.task, len(self.right_N))[:, order]
        return {
            "ece": calibration_error(confidence, right, weights),
            "items": np.full(len(weights), float(len(self.right_N))),
            "answered": weights.sum(1),
            "squares": weights @ (confidence - right) ** 2,
            "confidence": weights @ confidence,
            "right": weights @ right,
            "confidence_right": weights @ (confidence * right),
        }


def calibration_error(
    confidence: np.ndarray, right: np.ndarray, weights: np.ndarray, bins: int = BINS
) -> np.ndarray:
    """ECE [B] of answers in rising order of confidence, each counted so many times.

    Args:
        weights: [B, answers]; an answer that counts more than once lies in one bin.
    """
    if not len(confidence):
        return np.full(len(weights), np.nan)
    place = bins_of(weights, bins) + bins * np.arange(len(weights))[:, None]
    off = np.bincount(place.ravel(), (weights * (confidence - right)).ravel(), bins * len(weights))
    with np.errstate(invalid="ignore"):  # a resample without an answer
        return np.abs(off).reshape(-1, bins).sum(1) / weights.sum(1)


def bins_of(weights: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each answer [B, answers], that in which the middle of its mass lies."""
    total = np.maximum(weights.sum(1, keepdims=True), 1)
    middle = np.cumsum(weights, 1) - weights / 2
    return np.minimum((bins * middle / total).astype(int), bins - 1)


def chance_error(confidence: np.ndarray, stream: tuple[object, ...]) -> np.ndarray:
    """ECE [RESAMPLES] that these confidences, in rising order, would have if they were perfect."""
    generator = np.random.default_rng(rng.seed("calibration", *stream))
    right = (generator.random((RESAMPLES, len(confidence))) < confidence).astype(float)
    return calibration_error(confidence, right, np.ones_like(right))


def mirrored(found: Estimate) -> Estimate:
    """A value whose resamples are biased as it is itself, with its interval turned round (and it within)."""
    value = found.value
    return Estimate(value, min(2 * value - found.high, value), max(2 * value - found.low, value))


def reliability(judged: Sequence[Judged], bins: int = BINS) -> tuple[np.ndarray, np.ndarray]:
    """Mean confidence and share of right answers in each bin of all answers together."""
    right, confidence = (
        np.concatenate([getattr(one, key) for one in judged]) for key in ("right_N", "confidence_N")
    )
    _, confidence, right = Judged("", right, confidence).sorted()
    bins = min(bins, len(confidence))
    place = bins_of(np.ones((1, len(confidence))), bins)[0]
    counts = np.bincount(place, minlength=bins)
    return np.bincount(place, confidence, bins) / counts, np.bincount(place, right, bins) / counts


def judged_at(results: Results, run: MethodRun, moment: Moment) -> list[Judged]:
    """A run's answers to each task of the sequence at one moment; none where a task is missing.

    Args:
        moment: `base`, before all; `just`, after the task's own stage; `end`, after the last.
    """
    if moment == "just" and run.joint:
        return []
    last, measured = results.last_stage(run), run.measured("calibration")
    found = [
        _judged(measured.get({"base": 0, "just": place, "end": last}[moment], {}), task)
        for place, task in enumerate(results.order_of(run), start=1)
    ]
    return [one for one in found if one is not None] if all(found) else []


def _judged(result: Mapping[str, Any], task: str) -> Judged | None:
    for row in result.get("rows", ()):
        if row["task"] == task:
            return Judged(task, *(np.array(row[key], dtype=float) for key in ("right", "confidence")))
    return None


def at_moment(results: Results, runs: Sequence[MethodRun], moment: Moment) -> dict[str, Estimate]:
    """What is told of a method at one moment, its seeds combined; nothing where it was not measured.

    `ece`, `chance`, `brier`, `over` (confidence minus accuracy) and `answered` are means over tasks;
    `sure_right` and `sure_wrong`, the confidence in right and in wrong answers, over the answers to all.
    """
    seeds = [judged for run in runs if (judged := judged_at(results, run, moment))]
    if not seeds:
        return {}
    if moment == "base":  # one policy: its answers count once, unless they were sampled anew for each seed
        seeds = seeds[:1] if all(_same(seeds[0], judged) for judged in seeds) else seeds
    drawn = [_draws(judged) for judged in seeds]
    found = {name: estimate(combine_seeds(np.stack([one[name] for one in drawn]))) for name in drawn[0]}
    # A seed that answered nothing of a task has no ECE, and counts for neither.
    perfect = [
        chance_error(one.sorted()[1], (number, one.task))
        for number, (judged, draws) in enumerate(zip(seeds, drawn, strict=True))
        for one in judged
        if not np.isnan(draws["ece"][0])
    ]
    if perfect:
        chance = np.mean(perfect, axis=0)
        found["chance"] = estimate(np.concatenate([[chance.mean()], chance]))
    found["ece"] = mirrored(found["ece"])
    return {name: one.within(*_BOUNDS.get(name, (0.0, 1.0))) for name, one in found.items()}


def _same(one: Sequence[Judged], other: Sequence[Judged]) -> bool:
    return all(
        np.array_equal(a.right_N, b.right_N)
        and np.array_equal(a.confidence_N, b.confidence_N, equal_nan=True)
        for a, b in zip(one, other, strict=True)
    )


def change(results: Results, runs: Sequence[MethodRun]) -> Estimate | None:
    """The change of ECE from just after training to the end, mean over old tasks."""
    seeds = []
    for run in runs:
        just, end = (judged_at(results, run, moment)[:-1] for moment in ("just", "end"))
        if just and end:
            pairs = zip(just, end, strict=True)
            changes = [later.draws()["ece"] - earlier.draws()["ece"] for earlier, later in pairs]
            seeds.append(np.mean(changes, axis=0))
    return mirrored(estimate(combine_seeds(np.stack(seeds)))).within(-1, 1) if seeds else None


def _draws(judged: Sequence[Judged]) -> dict[str, np.ndarray]:
    drawn = [one.draws() for one in judged]
    each = {key: np.stack([one[key] for one in drawn]) for key in drawn[0]}  # [tasks, B]
    total = {key: values.sum(0) for key, values in each.items()}
    with np.errstate(invalid="ignore", divide="ignore"):  # no answer, or none that is right or wrong
        return {
            "ece": each["ece"].mean(0),
            "brier": (each["squares"] / each["answered"]).mean(0),
            "over": ((each["confidence"] - each["right"]) / each["answered"]).mean(0),
            "sure_right": total["confidence_right"] / total["right"],
            "sure_wrong": (total["confidence"] - total["confidence_right"])
            / (total["answered"] - total["right"]),
            "answered": (each["answered"] / each["items"]).mean(0),
        }
