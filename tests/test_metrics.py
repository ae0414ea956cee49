"""The metrics on worked examples, missing cells, sample transitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from holdfast.analysis.matrix import accuracy_matrix, check_items, finished_stages, mean_matrix
from holdfast.analysis.metrics import metrics_of, resolvable_difference
from holdfast.analysis.transitions import ItemHistory
from holdfast.errors import HoldfastError
from results_helpers import make_results

# The worked example of docs/metrics.md: the base, then three stages.
BASE_AND_STAGES = np.array(
    [
        [0.20, 0.30, 0.10],
        [0.80, 0.35, 0.10],
        [0.70, 0.90, 0.15],
        [0.74, 0.60, 0.70],
    ]
)
GENERAL = np.array([[0.90, 0.60], [0.80, 0.60], [0.75, 0.65], [0.70, 0.70]])


def test_worked_example():
    metrics = metrics_of(BASE_AND_STAGES, GENERAL)
    assert metrics["avg_acc"] == pytest.approx((0.74 + 0.60 + 0.70) / 3)
    assert metrics["fm"] == pytest.approx(((0.74 - 0.80) + (0.60 - 0.90)) / 2)
    assert metrics["bwt"] == pytest.approx(((0.74 - 0.80) + (0.60 - 0.90)) / 2)
    assert metrics["plasticity"] == pytest.approx((0.80 + 0.90 + 0.70) / 3)
    assert metrics["learned"] == pytest.approx((0.80 + 0.90 + 0.70) / 3 - (0.20 + 0.30 + 0.10) / 3)
    assert metrics["general"] == pytest.approx(((0.70 - 0.90) + (0.70 - 0.60)) / 2)
    assert metrics["fwt"] == pytest.approx(((0.35 - 0.30) + (0.15 - 0.10)) / 2)
    assert metrics["tlg"] == pytest.approx(((0.80 - 0.20) + (0.90 - 0.35) + (0.70 - 0.15)) / 3)


def test_the_final_average_is_the_sum_of_its_origins():
    """avg_acc = base + (T - 1) / T fwt + tlg + (T - 1) / T bwt, for any matrix."""
    accuracy = np.random.default_rng(0).random((50, 6, 5))
    metrics = metrics_of(accuracy, np.empty((50, 6, 0)))
    base = accuracy[:, 0].mean(-1)
    whole = base + 0.8 * metrics["fwt"] + metrics["tlg"] + 0.8 * metrics["bwt"]
    np.testing.assert_allclose(whole, metrics["avg_acc"], atol=1e-12)
    joint = metrics_of(accuracy[:, :2], np.empty((50, 2, 0)), joint=True)
    np.testing.assert_allclose(base + joint["tlg"], joint["avg_acc"], atol=1e-12)
    assert np.isnan(joint["fwt"]).all()


def test_fm_takes_the_best_since_learning_and_bwt_the_moment_of_learning():
    accuracy = BASE_AND_STAGES.copy()
    accuracy[2, 0] = 0.95  # a later stage helped the first task before it was forgotten
    accuracy[1, 1] = 0.99  # before training on the second task: does not count
    metrics = metrics_of(accuracy, GENERAL)
    assert metrics["fm"] == pytest.approx(((0.74 - 0.95) + (0.60 - 0.90)) / 2)
    assert metrics["bwt"] == pytest.approx(((0.74 - 0.80) + (0.60 - 0.90)) / 2)


def test_fm_is_never_positive_and_bwt_can_be():
    accuracy = BASE_AND_STAGES.copy()
    accuracy[3] = [0.9, 0.95, 0.7]
    metrics = metrics_of(accuracy, GENERAL)
    assert metrics["fm"] == 0
    assert metrics["bwt"] == pytest.approx((0.10 + 0.05) / 2)


def test_leading_axes_are_kept():
    many = np.stack([BASE_AND_STAGES, BASE_AND_STAGES / 2])
    assert metrics_of(many, np.stack([GENERAL, GENERAL]))["fm"] == pytest.approx([-0.18, -0.09])


def test_joint_runs_have_no_forgetting():
    metrics = metrics_of(BASE_AND_STAGES[[0, 3]], GENERAL[[0, 3]], joint=True)
    assert np.isnan(metrics["fm"])
    assert np.isnan(metrics["bwt"])
    assert metrics["plasticity"] == metrics["avg_acc"] == pytest.approx(0.68)


def test_one_task_and_no_general_benchmarks():
    metrics = metrics_of(np.array([[0.2], [0.8]]), np.empty((2, 0)))
    assert metrics["avg_acc"] == 0.8
    assert np.isnan(metrics["fm"])
    assert np.isnan(metrics["general"])


def test_missing_cells_are_missing_not_zero():
    accuracy = BASE_AND_STAGES.copy()
    accuracy[3, 1] = np.nan
    metrics = metrics_of(accuracy, GENERAL)
    assert np.isnan(metrics["avg_acc"])
    assert np.isnan(metrics["fm"])
    assert metrics["plasticity"] == pytest.approx(0.8)


def test_wrong_number_of_rows():
    with pytest.raises(ValueError, match="4 rows with the base"):
        metrics_of(BASE_AND_STAGES[:3], GENERAL[:3])


def test_resolvable_difference():
    # (1.960 + 0.8416) * sqrt(2 * 0.25 / 500) and (1.960 + 0.8416) * sqrt(0.2 / 500)
    assert resolvable_difference(500) == pytest.approx(0.08859, abs=1e-4)
    assert resolvable_difference(500, paired=True) == pytest.approx(0.05603, abs=1e-4)
    assert resolvable_difference(2000) == pytest.approx(resolvable_difference(500) / 2)
    assert resolvable_difference(1) == 1  # 1.98 is no difference of two accuracies
    with pytest.raises(ValueError, match="at least 1"):
        resolvable_difference(0)


def test_resolvable_difference_is_found_as_often_as_it_says():
    generator = np.random.default_rng(0)
    items, gap = 500, resolvable_difference(500)
    a, b = (generator.binomial(items, 0.5 + sign * gap / 2, 4000) / items for sign in (-1, 1))
    z = (b - a) / np.sqrt((a * (1 - a) + b * (1 - b)) / items)
    assert np.mean(z > 1.96) == pytest.approx(0.8, abs=0.03)


def test_matrix_of_a_partial_run():
    results = make_results(("sft",), stages_done=3, items=20)
    run = results.runs[0]
    matrix = accuracy_matrix(run, results.sequence, 8)
    assert matrix.shape == (8, 7)
    assert not np.isnan(matrix[:4]).any()
    assert np.isnan(matrix[4:]).all()
    assert finished_stages(run, results) == 3


def test_mean_matrix_counts_the_seeds_that_have_a_cell():
    results = make_results(("sft",), seeds=(0, 1), stages_done=3, items=20)
    mean = mean_matrix(results.runs, results.sequence, 8)
    first, second = (accuracy_matrix(run, results.sequence, 8) for run in results.runs)
    assert mean[2] == pytest.approx((first[2] + second[2]) / 2)
    assert mean[7] == pytest.approx(first[7])


def test_different_items_are_an_error():
    results = make_results(("sft", "grpo"), items=20)
    run = results.runs[1]
    cells = dict(run.cells)
    cells[3, "reading"] = list(reversed(cells[3, "reading"]))
    with pytest.raises(HoldfastError, match=r"grpo, seed 0: stages 0 and 3 .* items of reading \(item 1 is"):
        check_items([results.runs[0], replace(run, cells=cells)], results.sequence)
    cells = {cell: rows[:10] if cell[1] == "photos" else rows for cell, rows in run.cells.items()}
    with pytest.raises(HoldfastError, match=r"other items of photos .*20 against 10 items"):
        check_items([results.runs[0], replace(run, cells=cells)], results.sequence)


def _cell(scores: str, lenient: str) -> list[dict]:
    return [
        {"id": str(index), "score": float(score), "lenient": float(soft), "answer": "x", "format": 1.0}
        for index, (score, soft) in enumerate(zip(scores, lenient, strict=True))
    ]


def test_transitions_of_one_task():
    results = make_results(("sft",), sequence=("a", "b"), general=(), items=4)
    cells = {
        (1, "a"): _cell("1110", "1110"),
        (2, "a"): _cell("1001", "1011"),  # kept, lost knowledge, lost convention, gained
        (2, "b"): _cell("1111", "1111"),
    }
    (found,) = ItemHistory([replace(results.runs[0], cells=cells)], results).to_end()
    assert (found.task, found.since) == ("a", 1)
    assert (found.kept, found.lost, found.gained) == (0.25, 0.5, 0.25)
    assert (found.lost_convention, found.lost_knowledge) == (0.25, 0.25)


def test_transitions_add_up_and_skip_what_has_no_end():
    results = make_results(("sft", "grpo"), items=60, stages_done=4)
    for entry in ItemHistory(results.runs[:1], results).to_end():
        parts = entry.lost_format + entry.lost_convention + entry.lost_knowledge
        assert entry.lost == pytest.approx(parts)
    assert ItemHistory(results.runs[1:], results).to_end() == []
