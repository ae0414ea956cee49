"""How strongly two measured quantities go together, in the data and in every resample of them.

Rank correlation (Spearman), and the R² of y = a + b·x + c·x², each for many resamples at once. A
resample is a row of weights: how often it has each unit.

Axes: N units, B resamples with the data themselves in front, K distinct values.
"""

from __future__ import annotations

import numpy as np

from holdfast import rng


def cluster_weights(cluster_N: np.ndarray, resamples: int) -> np.ndarray:
    """How often each resample has each unit, weights_BN; units of one cluster are drawn together.

    C − 1 of C clusters are drawn: with C, resamples would vary too little (Rao and Wu, 1988).
    """
    clusters = int(cluster_N.max()) + 1
    generator = np.random.default_rng(rng.seed("bootstrap", "clusters", clusters))
    picked = generator.integers(clusters, size=(resamples, max(clusters - 1, 1)))
    counts = np.stack([(picked == cluster).sum(axis=1) for cluster in range(clusters)], axis=1)
    return np.concatenate([np.ones((1, len(cluster_N))), counts[:, cluster_N]])


def spearman(x_N: np.ndarray, y_N: np.ndarray, weights_BN: np.ndarray) -> np.ndarray:
    """Rank correlation in every resample; NaN where one of the two does not vary."""
    x_BN, y_BN = _ranks(x_N, weights_BN), _ranks(y_N, weights_BN)
    total_B = weights_BN.sum(axis=1, keepdims=True)
    x_BN = x_BN - (weights_BN * x_BN).sum(axis=1, keepdims=True) / total_B
    y_BN = y_BN - (weights_BN * y_BN).sum(axis=1, keepdims=True) / total_B
    xy, xx, yy = ((weights_BN * a * b).sum(axis=1) for a, b in ((x_BN, y_BN), (x_BN, x_BN), (y_BN, y_BN)))
    return np.where((xx > 1e-9) & (yy > 1e-9), xy / np.sqrt(np.maximum(xx * yy, 1e-18)), np.nan)


def _ranks(values_N: np.ndarray, weights_BN: np.ndarray) -> np.ndarray:
    """Ranks of units that occur `weight` times each; equal values share their middle rank."""
    _, group_N = np.unique(values_N, return_inverse=True)
    order_N = np.argsort(group_N, kind="stable")
    starts_K = np.flatnonzero(np.diff(group_N[order_N], prepend=-1))
    counts_BK = np.add.reduceat(weights_BN[:, order_N], starts_K, axis=1)
    return (np.cumsum(counts_BK, axis=1) - (counts_BK - 1) / 2)[:, group_N]


def quadratic(x_N: np.ndarray, y_N: np.ndarray, weights_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R² of y = a + b·x + c·x² in every resample, and (a, b, c); R² is NaN where y does not vary."""
    middle, scale = x_N.mean(), x_N.std()
    z_N = (x_N - middle) / scale  # so that powers of KLs near 1e-5 do not vanish beside 1
    features_N3 = np.stack([np.ones_like(z_N), z_N, z_N**2], axis=1)
    normal = np.einsum("bn,ni,nj->bij", weights_BN, features_N3, features_N3, optimize=True)
    target = np.einsum("bn,ni,n->bi", weights_BN, features_N3, y_N, optimize=True)
    # A resample of two distinct x has no unique parabola; the pseudo-inverse takes the smallest.
    fit_B3 = np.einsum("bij,bj->bi", np.linalg.pinv(normal, rcond=1e-10, hermitian=True), target)
    residual_BN = y_N - fit_B3 @ features_N3.T
    mean_B = (weights_BN @ y_N / weights_BN.sum(axis=1))[:, None]
    error_B = (weights_BN * residual_BN**2).sum(axis=1)
    spread_B = (weights_BN * (y_N - mean_B) ** 2).sum(axis=1)
    r2_B = np.where(spread_B > 1e-15, 1 - error_B / np.maximum(spread_B, 1e-15), np.nan)
    a, b, c = fit_B3.T
    b, c = b / scale, c / scale**2  # back to the units of x
    return r2_B, np.stack([a - b * middle + c * middle**2, b - 2 * c * middle, c], axis=1)


def unseen_r2(x_N: np.ndarray, y_N: np.ndarray, cluster_N: np.ndarray) -> float:
    """R² of predictions for each cluster from a fit to the others, against the others' mean.

    At least -1: how far a parabola misses what lies beyond the points it was fitted to says nothing.
    """
    error = spread = 0.0
    for cluster in np.unique(cluster_N):
        out = cluster_N == cluster
        if (~out).sum() < 4 or np.ptp(x_N[~out]) == 0:
            return float("nan")
        _, ((a, b, c),) = quadratic(x_N[~out], y_N[~out], np.ones((1, int((~out).sum()))))
        error += float(((y_N[out] - (a + b * x_N[out] + c * x_N[out] ** 2)) ** 2).sum())
        spread += float(((y_N[out] - y_N[~out].mean()) ** 2).sum())
    return max(-1.0, 1 - error / spread) if spread > 0 else float("nan")
