"""Bootstrap intervals: paired over stages and methods, over seeds, deterministic, right in size, fast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from holdfast.analysis.bootstrap import combine_seeds, estimate, item_weights, resample
from holdfast.analysis.matrix import accuracy_matrix
from holdfast.analysis.metrics import metrics_of
from results_helpers import make_results


def test_weights_are_draws_with_replacement_behind_the_data():
    weights = item_weights("reading", 50, 200)
    assert weights.shape == (201, 50)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 50).all()
    assert weights[1:].var() == pytest.approx(1 - 1 / 50, abs=0.1)


def test_the_first_draw_is_the_data():
    results = make_results(("sft",), items=40)
    run = results.runs[0]
    draws = resample(results, results.runs, 50)["sft"]
    expected = metrics_of(accuracy_matrix(run, results.sequence, 8), accuracy_matrix(run, results.general, 8))
    for name, value in expected.items():
        assert draws.metrics[name][0] == pytest.approx(float(value))
    assert draws.accuracy_BST[0] == pytest.approx(
        accuracy_matrix(run, (*results.sequence, *results.general), 8)
    )


def test_the_same_bits_every_time():
    results = make_results(("sft", "grpo"), seeds=(0, 1), items=30)
    first, second = (resample(results, results.runs, 60) for _ in range(2))
    for method in first:
        for name in first[method].metrics:
            np.testing.assert_array_equal(first[method].metrics[name], second[method].metrics[name])


def test_interval_of_an_accuracy_is_the_binomial_one():
    generator = np.random.default_rng(1)
    right = generator.random(500) < 0.7
    low, high = _interval(right.astype(float))
    error = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 500)
    assert low == pytest.approx(right.mean() - error, abs=0.006)
    assert high == pytest.approx(right.mean() + error, abs=0.006)


def _interval(scores: np.ndarray) -> tuple[float, float]:
    found = estimate(item_weights("t", len(scores), 2000) @ scores / len(scores))
    return found.low, found.high


def test_stages_are_paired():
    """A policy that answers every item as before has a BWT of exactly 0, whatever is drawn."""
    results = make_results(("sft",), items=50, general=())
    run = results.runs[0]
    frozen = {cell: run.cells[results.sequence.index(cell[1]) + 1, cell[1]] for cell in run.cells}
    draws = resample(results, [replace(run, cells=frozen)], 100)["sft"]
    assert (draws.metrics["bwt"] == 0).all()
    assert draws.metrics["avg_acc"].std() > 0


def test_methods_are_paired():
    results = make_results(("sft",), items=50)
    twin = replace(results.runs[0], method="twin")
    draws = resample(results, [*results.runs, twin], 100)
    np.testing.assert_array_equal(draws["sft"].metrics["fm"], draws["twin"].metrics["fm"])


@pytest.mark.parametrize(("seeds", "t"), [(2, 12.706), (3, 4.303), (5, 2.776)])
def test_seeds_alone_make_a_t_interval(seeds, t):
    """Where items do not matter, the interval is mean ± t · s / sqrt(R), t the 97.5 % quantile."""
    values = 0.5 + 0.01 * np.random.default_rng(seeds).standard_normal(seeds)
    found = estimate(combine_seeds(np.repeat(values[:, None], 1001, axis=1)))
    half = t * values.std(ddof=1) / np.sqrt(seeds)
    assert found.value == pytest.approx(values.mean())
    assert values.mean() - found.low == pytest.approx(half, rel=0.08)
    assert found.high - values.mean() == pytest.approx(half, rel=0.08)


def test_methods_with_as_many_seeds_are_paired_seed_by_seed():
    generator = np.random.default_rng(0)
    one = generator.random((3, 21))
    same_gap = combine_seeds(one + 0.1) - combine_seeds(one)
    assert same_gap == pytest.approx(np.full(201, 0.1))
    other = generator.random((3, 21))
    assert combine_seeds(one) - combine_seeds(other) == pytest.approx(combine_seeds(one - other))


def test_a_difference_ends_where_the_metrics_do():
    """Two seeds that differ by much: t is 12.7, and no accuracy differs from another by over 100 points."""
    results = make_results(("sft", "grpo"), seeds=(0, 1), items=20)
    draws = resample(results, results.runs, 50)
    swings = {
        name: values * 0 + np.linspace(-3, 3, len(values)) for name, values in draws["sft"].metrics.items()
    }
    swinging = replace(draws["sft"], metrics=swings)
    for name, most in (("avg_acc", 1), ("fm", 1), ("bwt", 2)):
        found = swinging.minus(draws["grpo"], name)
        assert (found.low, found.high) == (-most, most)


def test_unfinished_seeds_do_not_count():
    draws = np.stack([np.full(11, 0.4), np.full(11, np.nan)])
    assert combine_seeds(draws) == pytest.approx(np.full(101, 0.4))
    assert np.isnan(combine_seeds(draws[1:])).all()
    assert np.isnan(estimate(combine_seeds(draws[1:])).value)


def test_complete_seeds_need_no_general_cells_between_the_ends():
    results = make_results(("sft", "grpo"), items=20, general_every_stage=False)
    assert resample(results, results.runs, 20)["sft"].complete == 1
    partial = make_results(("sft",), seeds=(0, 1), items=20, stages_done=5)
    draws = resample(partial, partial.runs, 20)["sft"]
    assert (draws.seeds, draws.complete) == (2, 1)


@pytest.mark.parametrize("stage", [0, 4])
def test_a_seed_without_a_cell_that_a_measure_needs_is_not_complete(stage):
    """The base's accuracy (learned), or one between training on a task and the end (FM)."""
    results = make_results(("sft",), seeds=(0, 1), items=20)
    first, second = results.runs
    cells = {cell: rows for cell, rows in second.cells.items() if cell != (stage, results.sequence[1])}
    draws = resample(results, [first, replace(second, cells=cells)], 20)["sft"]
    assert (draws.seeds, draws.complete) == (2, 1)


def test_intervals_cover_the_truth():
    """Coverage of BWT's 95 % interval over test sets drawn from known probabilities."""
    generator = np.random.default_rng(3)
    items, repeats, hits = 200, 150, 0
    before, after = 0.85, 0.78  # items keep their difficulty, so the two cells are correlated
    for repeat in range(repeats):
        difficulty = generator.random(items)
        cells = np.stack([difficulty < before, difficulty < after]).astype(float)
        flips = generator.random(cells.shape) < 0.1
        cells = np.where(flips, 1 - cells, cells)
        draws = item_weights(f"cover-{repeat}", items, 300) @ cells.T / items
        found = estimate(draws[:, 1] - draws[:, 0])
        hits += found.low <= 0.8 * (after - before) <= found.high
    assert 0.90 <= hits / repeats <= 0.98


@pytest.mark.parametrize(
    ("seeds", "spread", "least", "most"),
    [
        (2, 0.2, 0.90, 0.98),
        (3, 0.05, 0.90, 0.98),
        (5, 0.03, 0.90, 0.98),
        (3, 0.0, 0.90, 1.0),  # what an item does in one seed alone is counted with items and with seeds
    ],
)
def test_intervals_over_seeds_and_items_cover_a_known_difference(seeds, spread, least, most):
    """Two methods whose seeds' abilities vary by `spread`, judged on the same items, drawn anew each time."""
    generator = np.random.default_rng(5)
    items, repeats, hits = 300, 200, 0
    for repeat in range(repeats):
        difficulty = generator.random(items)
        draws = []
        for ability in (0.80, 0.75):
            rights = difficulty < ability + spread * generator.standard_normal((seeds, 1))
            flips = generator.random(rights.shape) < 0.1
            weights = item_weights(f"crossed-{repeat % 20}", items, 100)
            draws.append(combine_seeds(np.where(flips, ~rights, rights) @ weights.T / items))
        found = estimate(draws[0] - draws[1])
        hits += found.low <= 0.8 * 0.05 <= found.high
    assert least <= hits / repeats <= most
