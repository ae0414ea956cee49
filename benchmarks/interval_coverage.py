"""How often the bootstrap intervals hold the true value: a simulation with known truth.

Seven tasks of 500 items. An item is right when a uniform number falls below the logistic of the
policy's ability minus the item's difficulty; that number is kept between stages except for 30 % of
the items, drawn anew. Abilities fall by `drift` after a task's own stage, and differ between seeds
by `noise`. Run with `python benchmarks/interval_coverage.py` (about three minutes on one core).
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from holdfast.analysis.bootstrap import combine_seeds, estimate, item_weights
from holdfast.analysis.metrics import metrics_of

TASKS, ITEMS, RESAMPLES, REPEATS = 7, 500, 300, 200
METRICS = ("fm", "bwt", "avg_acc")
# Seeds, spread of ability between them, fall of ability.
STUDIES = (
    (1, 0.0, 1.0),
    (1, 0.0, 0.0),
    (2, 0.3, 1.0),
    (3, 0.0, 1.0),
    (3, 0.15, 1.0),
    (3, 0.3, 1.0),
    (5, 0.3, 1.0),
)
NO_GENERAL = np.empty((TASKS + 1, 0))


def abilities(drift: float) -> np.ndarray:
    """ability_ST: 0 before a task's stage, then 1.5, falling."""
    ability = np.zeros((TASKS + 1, TASKS))
    for task in range(TASKS):
        after = np.arange(TASKS - task)
        ability[task + 1 :, task] = 1.5 - drift * after / TASKS
    return ability


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def truth(ability: np.ndarray, noise: float, generator: np.random.Generator) -> list[float]:
    """Expected metrics over seeds and items."""
    difficulty = np.array([NormalDist(0, 2).inv_cdf((rank + 0.5) / 1000) for rank in range(1000)])
    found = []
    for _ in range(3000):
        seed = ability + generator.normal(0, noise, ability.shape) if noise else ability
        metrics = metrics_of(logistic(seed[..., None] - difficulty).mean(axis=-1), NO_GENERAL)
        found.append([float(metrics[name]) for name in METRICS])
        if not noise:
            break
    return list(np.mean(found, axis=0))


def one_study(
    ability: np.ndarray, seeds: int, noise: float, generator: np.random.Generator, name: str
) -> dict:
    """Estimates of one simulated study."""
    difficulty = generator.normal(0, 2, (TASKS, ITEMS))
    per_seed: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}
    for _ in range(seeds):
        mine = ability + generator.normal(0, noise, ability.shape)
        cells = []
        for task in range(TASKS):
            kept = np.broadcast_to(generator.random(ITEMS), (TASKS + 1, ITEMS))
            new = generator.random((TASKS + 1, ITEMS))
            number = np.where(generator.random((TASKS + 1, ITEMS)) < 0.3, new, kept)
            right_SN = (number < logistic(mine[:, task, None] - difficulty[task])).astype(float)
            cells.append(item_weights(f"{name}-{task}", ITEMS, RESAMPLES) @ right_SN.T / ITEMS)
        metrics = metrics_of(np.stack(cells, axis=-1), np.empty((RESAMPLES + 1, TASKS + 1, 0)))
        for name in METRICS:
            per_seed[name].append(metrics[name])
    return {key: estimate(combine_seeds(np.stack(values))) for key, values in per_seed.items()}


def main() -> None:
    generator = np.random.default_rng(0)
    print("seeds  noise  drift | per metric: true value, mean estimate, coverage of the 95 % interval")
    for seeds, noise, drift in STUDIES:
        ability = abilities(drift)
        true = dict(zip(METRICS, truth(ability, noise, generator), strict=True))
        studies = [
            one_study(ability, seeds, noise, generator, f"{seeds}-{noise}-{drift}-{repeat}")
            for repeat in range(REPEATS)
        ]
        parts = []
        for name in METRICS:
            found = [study[name] for study in studies]
            covered = np.mean([one.low <= true[name] <= one.high for one in found])
            mean = np.mean([one.value for one in found])
            parts.append(f"{name} {100 * true[name]:.1f} {100 * mean:.1f} {100 * covered:.0f} %")
        print(f"{seeds:5}  {noise:5}  {drift:5} | " + "; ".join(parts), flush=True)


if __name__ == "__main__":
    main()
