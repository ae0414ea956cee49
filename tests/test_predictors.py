"""What predicts forgetting: units, correlation and fit by hand, and a simulation with a planted cause."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from holdfast.analysis.association import cluster_weights, quadratic, spearman, unseen_r2
from holdfast.analysis.matrix import accuracy_matrix
from holdfast.analysis.predictors import Unit, chain_units, stage_units, strength, study
from measured_results import make_grid, with_measures, without_drift_at
from results_helpers import SHORT, make_results


def ones(count: int) -> np.ndarray:
    return np.ones((1, count))


def test_rank_correlation_by_hand():
    x, y = np.array([1.0, 2, 3, 40]), np.array([1.0, 3, 2, 4])
    # Ranks differ by 0, 1, 1, 0: 1 − 6·2 / (4·15).
    assert spearman(x, y, ones(4)) == pytest.approx([0.8])
    # Ties share their middle rank: (1.5, 1.5, 3) against (1, 2, 3).
    assert spearman(np.array([5.0, 5, 9]), np.array([1.0, 2, 3]), ones(3)) == pytest.approx([0.75**0.5])
    assert np.isnan(spearman(np.array([5.0, 5, 5]), np.array([1.0, 2, 3]), ones(3)))


def test_weights_are_repetitions():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=7).round(1), generator.normal(size=7)
    times = np.array([2, 0, 1, 3, 1, 0, 2])
    xs, ys = np.repeat(x, times), np.repeat(y, times)
    weights = times[None].astype(float)
    assert spearman(x, y, weights) == pytest.approx(spearman(xs, ys, ones(9)))
    assert quadratic(x, y, weights)[0] == pytest.approx(quadratic(xs, ys, ones(9))[0])


def test_quadratic_fit_by_hand():
    x = np.array([1.0, 2, 3, 4, 5]) * 1e-5
    r2, curve = quadratic(x, 3 - 2e5 * x + 4e10 * x**2, ones(5))
    assert r2 == pytest.approx([1])
    assert curve[0] == pytest.approx([3, -2e5, 4e10], rel=1e-6)
    # Half of the spread is along a parabola, half is between twins that share an x.
    twins = np.array([-1.0, -1, 0, 0, 1, 1])
    r2, _ = quadratic(twins, np.array([2.0, 4, 0, 2, 2, 4]), ones(6))
    # Means 3, 1, 3; deviations from them are 1 (sum of squares 6); of the means, 2·(4/9+16/9+4/9) = 16/3.
    assert r2 == pytest.approx([(16 / 3) / (16 / 3 + 6)])


def test_r2_on_unseen_clusters_is_not_flattered():
    generator = np.random.default_rng(2)
    chain = np.repeat(np.arange(8), 3)
    x = generator.normal(size=24)
    assert unseen_r2(x, 2 * x - x**2, chain) == pytest.approx(1)
    assert np.mean([unseen_r2(x, generator.normal(size=24), chain) for _ in range(50)]) < 0
    beyond = np.where(chain == 7, 100 + x, x)  # where a parabola through the others says nothing
    assert unseen_r2(beyond, 2 * x - x**2, chain) == -1


def test_adjusted_r2_by_hand():
    units = [Unit(f"m{n % 8}", 2, {"cause": n % 5}, {"old": (n * n) % 7}) for n in range(16)]
    found = strength(units, "cause", "old", 10)
    assert 0 < found.r2 < 0.5
    assert found.adjusted.value == pytest.approx(1 - (1 - found.r2) * 15 / 13)


def test_resamples_take_whole_clusters():
    chain = np.array([0, 0, 1, 1, 1, 2])
    weights = cluster_weights(chain, 50)
    assert (weights[0] == 1).all()
    for index in range(3):
        assert (np.ptp(weights[:, chain == index], axis=1) == 0).all()
    assert (weights[1:, [0, 2, 5]].sum(axis=1) == 2).all()  # C − 1 of C clusters


def test_units_of_a_chain():
    results = with_measures(make_results(("sft",), items=50, sequence=SHORT, general=("facts",)))
    run = results.runs[0]
    accuracy = accuracy_matrix(run, SHORT, 4)
    second, third = stage_units(run, results)
    assert (second.stage, third.stage) == (2, 3)
    assert third.outcomes["old"] == pytest.approx((accuracy[3, :2] - accuracy[2, :2]).mean())
    assert third.predictors["progress"] == pytest.approx(accuracy[3, 2] - accuracy[0, 2])
    rows = {(r["task"], r["reference"]): r for r in run.measured("drift")[3]["kl"]}
    assert third.predictors["kl_forward_new"] == rows["photos", "previous"]["forward"]
    both = [rows[task, "previous"]["reverse"] for task in ("diagrams", "reading")]
    assert third.predictors["kl_reverse_old"] == pytest.approx(np.mean(both))
    assert third.predictors["l2"] == run.measured("drift")[3]["movement"][-1]["l2"]
    (chain,) = chain_units(run, results)
    assert chain.outcomes["bwt"] == pytest.approx(
        ((accuracy[3, 0] - accuracy[1, 0]) + (accuracy[3, 1] - accuracy[2, 1])) / 2
    )
    base = [rows[task, "base"]["forward"] for task in SHORT]
    assert chain.predictors["kl_forward_trained"] == pytest.approx(np.mean(base))
    lengths = [drift["movement"][-1]["l2"] for drift in run.measured("drift").values()]
    assert chain.predictors["l2"] == pytest.approx(sum(lengths))


def test_units_follow_the_order_of_their_run():
    results = make_results(("sft",), items=50, sequence=SHORT, general=())
    run = replace(results.runs[0], order=("photos", "reading", "diagrams"))
    run = with_measures(replace(results, runs=(run,))).runs[0]
    accuracy = accuracy_matrix(run, ("photos", "reading", "diagrams"), 4)
    last = stage_units(run, results)[-1]
    assert last.outcomes["old"] == pytest.approx((accuracy[3, :2] - accuracy[2, :2]).mean())
    assert last.predictors["progress"] == pytest.approx(accuracy[3, 2] - accuracy[0, 2])
    assert np.isnan(last.outcomes["general"])


def test_what_is_missing_is_left_out():
    results = with_measures(make_results(("sft",), items=30, sequence=SHORT, general=()))
    run = results.runs[0]
    partly, bare = without_drift_at(2, run), replace(run, measures={})
    assert [unit.stage for unit in stage_units(partly, results)] == [3]
    assert np.isnan(chain_units(partly, results)[0].predictors["l2"])  # a stage is missing from the sum
    assert stage_units(bare, results) == chain_units(bare, results) == []
    assert study(replace(results, runs=(partly,))).by_stage == []  # too few to fit


def simulated(methods: int, generator: np.random.Generator, seeds: int = 1) -> list[Unit]:
    """Methods that differ, seeds and stages that differ less; forgetting comes of `cause` alone."""
    units = []
    for method in range(methods):
        level, other, fate = generator.normal(size=3)
        for _ in range(seeds):
            for stage in range(2, 7):
                cause = level + 0.5 * generator.normal()
                noise = other + 0.5 * generator.normal()
                lost = -0.05 * cause + 0.02 * (fate + generator.normal())
                unit = Unit(f"m{method}", stage, {"cause": cause, "noise": noise}, {"old": lost})
                units.append(unit)
    return units


@pytest.mark.slow
@pytest.mark.parametrize(("methods", "seeds"), [(16, 1), (12, 3)])
def test_a_planted_cause_wins_and_noise_is_not_mistaken_for_one(methods, seeds):
    generator = np.random.default_rng(4)
    covered = fitted = flattered = 0
    studies = 40
    for _ in range(studies):
        units = simulated(methods, generator, seeds)
        cause, noise = (strength(units, name, "old", 300) for name in ("cause", "noise"))
        assert cause.rho.value < -0.7 and cause.rho.high < -0.4
        assert cause.adjusted.value > 0.5 > noise.adjusted.value
        assert cause.unseen > 0.4
        covered += noise.rho.low <= 0 <= noise.rho.high
        fitted += noise.adjusted.low <= 0 <= noise.adjusted.high
        flattered += noise.unseen > 0
    # Stages and seeds of one method hang together: drawn one by one, they would look like many more.
    assert covered / studies >= 0.85
    assert fitted / studies >= 0.75
    assert flattered / studies <= 0.3


def test_few_methods_have_no_interval():
    units = simulated(7, np.random.default_rng(0), seeds=3)
    found = strength(units, "cause", "old", 50)
    assert found.methods == 7 and np.isnan(found.rho.low) and not np.isnan(found.rho.value)


@pytest.mark.slow
def test_the_study_of_a_grid():
    found = study(with_measures(make_grid(seeds=(0, 1), items=60)), 100)
    assert len(found.stages) == 20 * 6 and max(one.units for one in found.by_chain) == 20
    best = max((s for s in found.by_stage if s.outcome == "old"), key=lambda s: s.adjusted.value)
    assert best.predictor.startswith("kl_")
    assert best.rho.high < 0
