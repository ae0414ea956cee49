"""Does RFT regularise itself? Measured forgetting risk against what the variance identity says.

The risk of an update g is R(g) = gᵀFg, F the Fisher information of the earlier tasks. The study
(arXiv 2507.05386, v1–v4) claims for one instance x and answers a of the policy at hand

    E[R(g_RFT(a))] ≈ Var[r(x, a)] · R(g_SFT)

so a slope of 1 through the origin. It says nothing once advantages are divided by their standard
deviation, which takes the variance out again: then RFT's risk would be R(g_SFT) wherever rewards
differ at all, times (G − 1) / G, for GRPO's deviation of G rewards divides by G − 1. Both are fitted, against
the risk of SFT's target and of the policy's own samples.

The Fisher grows from stage to stage, so risks are divided by the mean SFT risk of the policy they
were measured at; slopes do not change by that, but no policy outweighs the others. Intervals
resample instances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from holdfast import rng
from holdfast.analysis.association import spearman
from holdfast.analysis.bootstrap import RESAMPLES, Estimate, estimate, item_weights
from holdfast.analysis.results import MethodRun

Instance = Mapping[str, Any]

# Bins of the pass rate: all wrong and all right stand alone, for there rewards differ in format at most.
BINS = ("0", "(0, ¼]", "(¼, ½]", "(½, ¾]", "(¾, 1)", "1")
MIN_INSTANCES = 5  # fewer have no interval: it would be far too narrow
MOST_DRAWN = 4_000_000  # numbers in a table of resamples by instances; 32 MB
ROUNDING = 1e-6  # of a mean reward: float32 gives eight rewards of 0.1 a standard deviation of 7e-9


@dataclass(frozen=True)
class Claim:
    """One relation to test: `risk` against the reward variance (or its being above 0) × `against`."""

    risk: str
    against: str
    damped: bool

    @property
    def name(self) -> str:
        factor = "variance" if self.damped else "[variance > 0]"
        left = "RFT, divided by std" if self.risk.endswith("_std") else "RFT"
        right = {
            "risk_sft_answer": "SFT, answer",
            "risk_sft_reasoned": "SFT, reasoned",
            "risk_sampled": "own samples",
        }[self.against]
        return f"{left} ~ {factor} × {right}"

    def xy(self, instances: Sequence[Instance]) -> tuple[np.ndarray, np.ndarray]:
        """What the claim says and what was measured, of the instances that have both."""
        there = [
            row for row in instances if row.get(self.risk) is not None and row.get(self.against) is not None
        ]
        variance = np.array([_variance(row) for row in there])
        factor = variance if self.damped else (variance > 0).astype(float)
        x = factor * np.array([float(row[self.against]) for row in there])
        return x, np.array([float(row[self.risk]) for row in there])


def _variance(row: Instance) -> float:
    """Of an instance's rewards; exactly 0 where they are equal, whatever the rounding of their mean."""
    variance = float(row["reward_variance"])
    return variance if variance > (ROUNDING * row["reward_mean"]) ** 2 else 0.0


# What the study claims, of SFT on the answer and on the policy's own samples; and the same of RFT whose
# advantages are divided by their standard deviation, of which it cannot hold.
IDENTITY = Claim("risk_rft", "risk_sft_answer", damped=True)
IDENTITY_SAMPLED = Claim("risk_rft", "risk_sampled", damped=True)
IDENTITY_STD = Claim("risk_rft_std", "risk_sft_answer", damped=True)
IDENTITY_STD_SAMPLED = Claim("risk_rft_std", "risk_sampled", damped=True)
CLAIMS = (
    IDENTITY,
    Claim("risk_rft", "risk_sft_reasoned", damped=True),
    IDENTITY_SAMPLED,
    IDENTITY_STD,
    IDENTITY_STD_SAMPLED,
    Claim("risk_rft_std", "risk_sft_answer", damped=False),
    Claim("risk_rft_std", "risk_sampled", damped=False),
)


@dataclass(frozen=True)
class Fit:
    """A claim fitted: y = slope · x.

    Attributes:
        instances: there are, those with equal rewards included.
        live: of them, those whose rewards differ; the others should lie at (0, 0).
        slope: least squares through the origin; 1 where the claim holds.
        rho: rank correlation over the live instances. (The others would add agreement for nothing.)
        r2: 1 − Σ(y − slope·x)² / Σ(y − mean y)² over the live instances; may be below 0. NaN where y does
            not vary.
    """

    claim: Claim
    instances: int
    live: int
    slope: Estimate
    rho: Estimate
    r2: Estimate


def instances_of(runs: Iterable[MethodRun]) -> list[Instance]:
    """All measured instances, with risks in units of the mean SFT risk at their policy."""
    found: list[Instance] = []
    for run in runs:
        for risk in run.measured("risk").values():
            rows = risk["instances"]
            unit = float(np.mean([row["risk_sft_answer"] for row in rows])) if rows else 0.0
            if unit > 0:
                found += [
                    {k: v / unit if k.startswith("risk_") and v is not None else v for k, v in row.items()}
                    for row in rows
                ]
    return found


def fit_claim(claim: Claim, instances: Sequence[Instance]) -> Fit | None:
    """The claim on these instances; None where too few have different rewards."""
    x_N, y_N = claim.xy(instances)
    live_N = x_N > 0
    if live_N.sum() < MIN_INSTANCES:
        return None
    x_L, y_L = x_N[live_N], y_N[live_N]
    weights_BL = _weights("risk", len(x_L))
    # Where x is 0 a point says nothing about the slope, so live instances are all it needs.
    slope_B = weights_BL @ (x_L * y_L) / (weights_BL @ x_L**2)
    mean_B = (weights_BL @ y_L / weights_BL.sum(axis=1))[:, None]
    error_B = (weights_BL * (y_L - slope_B[:, None] * x_L) ** 2).sum(axis=1)
    spread_B = (weights_BL * (y_L - mean_B) ** 2).sum(axis=1)
    r2_B = 1 - error_B / np.maximum(spread_B, 1e-30) if np.ptp(y_L) else np.full(len(error_B), np.nan)
    rho_B = spearman(x_L, y_L, weights_BL)
    return Fit(
        claim, len(x_N), int(live_N.sum()), estimate(slope_B), estimate(np.nan_to_num(rho_B)), estimate(r2_B)
    )


def bin_of(pass_rate: float) -> int:
    """Index into BINS; a pass rate of exactly ¼ belongs to the bin that ends there."""
    if pass_rate <= 0:
        return 0
    return 5 if pass_rate >= 1 else 1 + min(int(np.ceil(4 * pass_rate)) - 1, 3)


def mean_by_bin(instances: Sequence[Instance], name: str) -> list[Estimate]:
    """Mean of one quantity in each bin of the pass rate, instances resampled; NaN where a bin is empty."""
    least = -np.inf if name.startswith("effect_") else 0.0  # norms and risks are never negative
    found = []
    for index in range(len(BINS)):
        rows = [row for row in instances if bin_of(row["pass_rate"]) == index]
        values = np.array([float(row[name]) for row in rows if row.get(name) is not None])
        found.append(mean_of(values, least))
    return found


def mean_of(values_N: np.ndarray, least: float, most: float = np.inf) -> Estimate:
    """Their mean, resampled; NaN without values, and no interval for fewer than MIN_INSTANCES.

    Args:
        least, most: that a value can be. Widened draws may lie beyond, and the interval does not.
    """
    count = len(values_N)
    if count < MIN_INSTANCES:
        return Estimate(float(values_N.mean()) if count else np.nan, np.nan, np.nan)
    mean_B = _weights("mean", count) @ values_N / count
    return estimate(widened(mean_B, count)).within(least, most)


def widened(draws_B: np.ndarray, count: int) -> np.ndarray:
    """Draws of a mean of `count` values, which resampling makes vary too little by sqrt((n - 1) / n)."""
    return draws_B[0] + (draws_B - draws_B[0]) * (count / (count - 1)) ** 0.5


def _weights(name: str, instances: int) -> np.ndarray:
    """Resamples of instances: 1,000, or as many as memory allows, but 200."""
    return item_weights(name, instances, min(RESAMPLES, max(200, MOST_DRAWN // instances)))


def recovery(pairs_N2: np.ndarray) -> Estimate:
    """Share of a loss that came back: sum of what came back over the sum of what was lost.

    Args:
        pairs_N2: (lost, came back) of each old task and seed; these are resampled.

    Returns:
        NaN where the loss itself is not shown to be above 0, for a share of nothing is no number. Of
        fewer than MIN_INSTANCES pairs, all of which lost something, a share without an interval.
    """
    count = len(pairs_N2)
    none = Estimate(np.nan, np.nan, np.nan)
    if count < MIN_INSTANCES:
        lost, back = pairs_N2.sum(axis=0)
        return replace(none, value=float(back / lost)) if count and pairs_N2[:, 0].min() > 0 else none
    generator = np.random.default_rng(rng.seed("bootstrap", "recovery", count))
    picked = generator.integers(count, size=(RESAMPLES, count))
    sums_B2 = np.concatenate([pairs_N2.sum(axis=0)[None], pairs_N2[picked].sum(axis=1)])
    lost_B, back_B = widened(sums_B2[:, 0], count), widened(sums_B2[:, 1], count)
    if estimate(lost_B).low <= 0:
        return none
    # The few draws in which next to nothing was lost have no share, or a huge one.
    found = estimate(back_B / np.where(lost_B <= 0, np.nan, lost_B))
    return found.within(-1.0, 2.0) if -1 <= found.value <= 2 else found
