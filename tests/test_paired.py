"""Two checkpoints on the same items: the exact test, its adjustment, and the intervals."""

from __future__ import annotations

import time

import numpy as np
import pytest

from holdfast.analysis import paired


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (5, 0, 0.0625), (0, 6, 0.03125), (10, 2, 0.038574), (1, 0, 1.0)],
)
def test_exact_test(lost: int, gained: int, p: float) -> None:
    assert paired.mcnemar(lost, gained) == pytest.approx(p, abs=1e-6)


def test_exact_test_with_many_flips() -> None:
    assert 0 < paired.mcnemar(2000, 1500) < 1e-12


def test_holm() -> None:
    # The worked example of three hypotheses: 3 × 0.01, 2 × 0.02, 1 × 0.03 raised to the one before.
    assert paired.holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert paired.holm([0.9, 0.6]) == [1.0, 1.0]
    assert paired.holm([]) == []


def test_change_counts_and_values() -> None:
    before = np.array([1, 1, 1, 0, 0, 0.6, 0.3])
    after = np.array([1, 0, 0, 1, 0, 0.3, 0.3])
    change = paired.compare("task", before, after)
    assert (change.items, change.lost, change.gained) == (7, 3, 1)
    assert change.value == pytest.approx(after.mean() - before.mean())
    assert change.interval().value == change.value
    assert np.array_equal(change.draws_B, paired.compare("task", before, after).draws_B)


def test_no_flip_is_no_certainty() -> None:
    few, many = (paired.compare("task", np.ones(items), np.ones(items)).interval() for items in (10, 1000))
    assert few.low < -0.05 < -0.005 < many.low <= 0 <= many.high
    assert paired.accuracy("task", np.ones(20)).low < 1


def test_pool() -> None:
    one = paired.compare("one", np.array([1.0, 1, 0, 0]), np.array([0.0, 0, 1, 0]))
    two = paired.compare("two", np.array([1.0, 1]), np.array([1.0, 0]))
    both = paired.pool([one, two])
    assert (both.items, both.lost, both.gained) == (6, 3, 1)
    assert both.value == pytest.approx((one.value + two.value) / 2)
    assert both.before == pytest.approx(0.75)


def test_intervals_hold_the_truth() -> None:
    """95 % intervals over 150 simulated comparisons of 200 items: 4 % lost, 2 % gained."""
    generator = np.random.default_rng(0)
    held = 0
    for study in range(150):
        kind = generator.choice(3, size=200, p=[0.04, 0.02, 0.94])
        before = np.where(kind == 0, 1.0, np.where(kind == 1, 0.0, 1.0))
        after = np.where(kind == 0, 0.0, 1.0)
        interval = paired.compare(f"study {study}", before, after).interval()
        held += interval.low <= -0.02 <= interval.high
    assert held / 150 >= 0.90


def test_twenty_thousand_flips_take_no_minute() -> None:
    """They took 61 s when every term was computed from nothing."""
    start = time.process_time()
    assert paired.mcnemar(10_100, 9_900) == pytest.approx(0.1594, abs=1e-4)
    assert time.process_time() - start < 5


@pytest.mark.slow
def test_scores_in_between_are_tested_by_their_mean() -> None:
    """Three of ten items lose a third, one gains all: the mean stays, which a count of flips does not see."""
    generator, alarms = np.random.default_rng(0), 0
    for study in range(200):
        change_N = generator.choice([0.0, -1 / 3, 1.0], p=[0.6, 0.3, 0.1], size=300)
        change = paired.compare(f"study {study}", np.full(300, 0.5), 0.5 + change_N)
        assert not change.alike and paired.mcnemar(change.lost, change.gained) < 0.05
        alarms += change.fell(0.01) and change.p <= 0.05
    assert alarms / 200 <= 0.05
    change = paired.compare("task", np.ones(100), np.full(100, 0.5))
    assert change.p == 2 / 10_001  # as small as so many resamples can show
