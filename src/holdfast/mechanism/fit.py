"""How well one measure of an instance predicts another: a line through the origin, with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from holdfast import rng

RESAMPLES = 2000
LEVEL = 0.95

Row = Mapping[str, Any]
Value = str | Callable[[Row], float | None]


def predicted_risk(row: Row, target: str = "answer") -> float | None:
    """Var[r] · R(g_SFT) of a row of `risk`: what the study says RFT's risk is (arXiv 2507.05386)."""
    sft = row[f"risk_sft_{target}"]
    return None if sft is None else row["reward_variance"] * sft


def fit(rows: Sequence[Row], x: Value, y: Value, resamples: int = RESAMPLES) -> dict[str, float | int | None]:
    """The least-squares slope of y = slope · x over instances.

    Args:
        x, y: a field of the rows, or a function of a row such as `predicted_risk`. Rows in which one of
            them is None do not count.
        resamples: of the instances, for the percentile interval.

    Returns:
        slope, low, high (its 95 % bootstrap interval); r2 (share of y's variance about its mean that the
        line explains; negative where the mean explains more); spearman (rank correlation, ties at
        their mean rank); instances. What is not defined, for want of instances or of differences, is None.
    """
    pairs = [(_value(row, x), _value(row, y)) for row in rows]
    x_N, y_N = np.array([pair for pair in pairs if None not in pair], dtype=float).reshape(-1, 2).T
    count = len(x_N)
    result: dict[str, float | int | None] = dict.fromkeys(("slope", "low", "high", "r2", "spearman"))
    result["instances"] = count
    if not x_N.any():
        return result
    slope = float(x_N @ y_N / (x_N @ x_N))
    spread = float(((y_N - y_N.mean()) ** 2).sum())
    result["slope"] = slope
    if count > 1:
        drawn_BN = np.random.default_rng(rng.seed("fit", count)).integers(count, size=(resamples, count))
        products_B, squares_B = (x_N * y_N)[drawn_BN].sum(1), (x_N**2)[drawn_BN].sum(1)
        slopes = products_B[squares_B > 0] / squares_B[squares_B > 0]
        result["low"], result["high"] = (
            float(bound) for bound in np.quantile(slopes, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
        )
    if spread > 0:
        result["r2"] = float(1 - ((y_N - slope * x_N) ** 2).sum() / spread)
        if np.ptp(x_N) > 0:
            result["spearman"] = float(np.corrcoef(_ranks(x_N), _ranks(y_N))[0, 1])
    return result


def _value(row: Row, of: Value) -> float | None:
    return row[of] if isinstance(of, str) else of(row)


def _ranks(values_N: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[inverse]
