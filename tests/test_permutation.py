"""The paired permutation test: exact on a tiny case, uniform under the null, small under an effect."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest

from holdfast.analysis.comparisons import compare
from holdfast.analysis.metrics import metrics_of
from holdfast.analysis.permutation import (
    PERMUTATIONS,
    Difference,
    ItemScores,
    effect_sizes,
    item_scores,
    permutation_tests,
)
from holdfast.analysis.views import analyse
from results_helpers import Profile, make_results

# Two tasks, base and two stages; scores_SN of three and two items.
OURS = {"a": np.array([[0, 0, 1], [1, 1, 1], [1, 1, 1.0]]), "b": np.array([[0, 0], [0, 1], [1, 1.0]])}
THEIRS = {"a": np.array([[0, 0, 1], [1, 0, 1], [0, 0, 0.0]]), "b": np.array([[0, 0], [1, 1], [1, 0.0]])}


def permutation_test(first: ItemScores, second: ItemScores, permutations: int = PERMUTATIONS) -> dict:
    (found,) = permutation_tests([(first, second)], permutations)
    return found


def _scores(sequence: dict[str, np.ndarray], general: dict[str, np.ndarray] | None = None) -> ItemScores:
    return ItemScores(sequence, general or {}, joint=False)


def _enumerated(name: str) -> float:
    """Share of all 2^5 swaps whose difference is at least as large as the observed one."""

    def gap(swapped: tuple[bool, ...]) -> float:
        sides = []
        for mine, other in ((OURS, THEIRS), (THEIRS, OURS)):
            columns, start = [], 0
            for task in ("a", "b"):
                items = mine[task].shape[1]
                swap_N = np.array(swapped[start : start + items])
                columns.append(np.where(swap_N, other[task], mine[task]).mean(axis=1))
                start += items
            sides.append(float(metrics_of(np.stack(columns, axis=1), np.empty((3, 0)))[name]))
        return sides[0] - sides[1]

    observed = abs(gap((False,) * 5))
    swaps = list(itertools.product((False, True), repeat=5))
    return float(np.mean([abs(gap(swapped)) >= observed - 1e-12 for swapped in swaps]))


@pytest.mark.parametrize("name", ["avg_acc", "fm", "bwt", "plasticity", "learned"])
def test_a_tiny_case_against_every_swap_there_is(name):
    exact = _enumerated(name)
    found = permutation_test(_scores(OURS), _scores(THEIRS), 40_000)[name]
    assert found == pytest.approx(exact, abs=4 * (0.25 / 40_000) ** 0.5)


def test_the_tiny_case_by_hand():
    """AvgAcc: the two differ at the end on all of a and on one item of b, always in one direction. The
    difference of 3/4 is reached only if all four keep their side or all four change it: 2 of 16.

    FM: 0 against -2/3. Item 2 of a is as good after either stage for both, so it does not matter whose
    it is; items 1 and 3 have to stay together: 2 of 4.
    """
    assert _enumerated("avg_acc") == 2 / 16
    assert _enumerated("fm") == 2 / 4


def test_no_difference_has_p_one_and_every_item_better_the_least():
    ones, zeros = np.ones((2, 40)), np.zeros((2, 40))
    same = permutation_test(_scores({"a": ones}), _scores({"a": ones}))
    assert same["avg_acc"] == 1
    better = permutation_test(_scores({"a": ones}), _scores({"a": zeros}))
    assert better["avg_acc"] == 1 / (1 + PERMUTATIONS)
    assert np.isnan(better["fm"])  # one task: nothing to forget
    assert np.isnan(better["general"])


def _study(generator: np.random.Generator, gap: float, items: int = 50) -> tuple[ItemScores, ItemScores]:
    """Two methods on three tasks; items differ in difficulty, and `gap` is what the second forgets more.

    Right answers earn between one half and one: with 0 and 1 alone many swaps tie, and p is too large.
    """
    sides: tuple[dict[str, np.ndarray], ...] = ({}, {})
    for task in range(3):
        difficulty = generator.normal(0, 0.25, items)
        for side, forgets in zip(sides, (0.05, 0.05 + gap), strict=True):
            level = np.where(np.arange(4) > task, 0.85 - forgets * (np.arange(4) - task - 1), 0.4)
            right = generator.random((4, items)) < np.clip(level[:, None] + difficulty, 0, 1)
            side[f"t{task}"] = right * generator.uniform(0.5, 1, right.shape)
    return _scores(sides[0]), _scores(sides[1])


@pytest.mark.slow
def test_p_is_uniform_under_the_null_and_small_under_an_effect():
    generator = np.random.default_rng(5)
    null = permutation_tests([_study(generator, 0.0) for _ in range(300)])
    for name in ("avg_acc", "fm", "bwt"):
        p = np.array([one[name] for one in null])
        for level in (0.05, 0.2, 0.5, 0.8):  # within 3.3 standard errors of the share it should have
            assert np.mean(p <= level) == pytest.approx(level, abs=3.3 * (level * (1 - level) / 300) ** 0.5)
    real = permutation_tests([_study(generator, 0.2) for _ in range(40)])
    for name in ("avg_acc", "fm", "bwt"):
        assert np.mean([one[name] <= 0.05 for one in real]) > 0.8


def test_effect_sizes():
    ours = {"a": np.array([[0.0, 0, 0, 0], [1, 1, 1, 1]])}
    theirs = {"a": np.array([[0.0, 0, 0, 0], [1, 0, 1, 0]])}
    found = effect_sizes(_scores(ours), _scores(theirs))
    gaps = np.array([0.0, 1, 0, 1])
    assert found["avg_acc"] == pytest.approx(gaps.mean() / gaps.std(ddof=1))
    assert "fm" not in found
    # With as many items in each task it is the plain one over all items.
    first, second = ({task: scores[:, :2] for task, scores in side.items()} for side in (OURS, THEIRS))
    found = effect_sizes(_scores(first), _scores(second))
    gaps = np.array([1, 1, 0, 1.0])
    assert found["avg_acc"] == pytest.approx(gaps.mean() / gaps.std(ddof=1))
    assert np.isnan(effect_sizes(_scores(OURS), _scores(OURS))["avg_acc"])


def test_shown_needs_the_interval_and_the_test():
    assert Difference(0.03, 0.01, 0.05, 0.04, 0.1).shown
    assert Difference(-0.03, -0.05, -0.01, 0.04, 0.1).shown
    assert not Difference(0.03, 0.01, 0.05, 0.06, 0.1).shown
    assert not Difference(0.03, -0.01, 0.05, 0.01, 0.1).shown
    assert not Difference(0.03, 0.01, 0.05, np.nan, np.nan).shown


def test_of_other_orders_only_the_end_is_compared():
    results = make_results(("sft", "grpo"), items=40, sequence=("diagrams", "reading", "photos"))
    turned = replace(results.runs[1], order=("photos", "diagrams", "reading"))
    sft, grpo, other = (item_scores([run], results) for run in (*results.runs, turned))
    straight, turned_p = permutation_test(sft, grpo), permutation_test(sft, other)
    assert turned_p["avg_acc"] == straight["avg_acc"]
    assert turned_p["general"] == straight["general"]
    assert np.isnan([turned_p[name] for name in ("fm", "bwt", "plasticity", "learned")]).all()
    assert set(effect_sizes(sft, other)) == {"avg_acc", "general"}
    assert effect_sizes(sft, other)["avg_acc"] == pytest.approx(effect_sizes(sft, grpo)["avg_acc"])


def test_seeds_are_averaged_and_it_is_the_same_every_time():
    results = make_results(("sft", "grpo"), seeds=(0, 1), items=30)
    sft, grpo = (item_scores([r for r in results.runs if r.method == m], results) for m in ("sft", "grpo"))
    assert set(np.unique(sft.sequence["reading"][-1])) <= {0.0, 0.5, 1.0}
    assert permutation_test(sft, grpo) == permutation_test(sft, grpo)


def test_a_long_table_has_swaps_enough_for_its_correction():
    """Fifty tests: with the 2,000 swaps of a short table no corrected p could be below 0.025."""
    profiles: dict[str, Profile] = {
        name: ("sft", False, False, top, 0.02, 0.01)
        for name, top in zip("abcde", (0.5, 0.6, 0.7, 0.8, 0.9), strict=True)
    }
    results = make_results("abcde", items=80, sequence=("diagrams", "reading"), profiles=profiles)
    pairs = list(itertools.combinations(analyse(results).methods, 2))
    found = compare(pairs, results)
    assert len(found) * len(found[0].differences) == 50
    assert min(one.differences["avg_acc"].p for one in found) <= 0.01


def test_it_is_fast():
    """2,000 permutations, 8 stages, 10 tasks of 500 items: under a second, also on a busy machine."""
    generator = np.random.default_rng(0)
    first, second = (
        _scores(
            {f"t{i}": (generator.random((8, 500)) < 0.7) * 1.0 for i in range(7)},
            {f"g{i}": (generator.random((8, 500)) < 0.7) * 1.0 for i in range(3)},
        )
        for _ in range(2)
    )
    start = time.process_time()
    permutation_test(first, second)
    assert time.process_time() - start < 1.0
