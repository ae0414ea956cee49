"""A run with a task order of its own: measures, stages and tables follow it, columns do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from holdfast.analysis.bootstrap import resample
from holdfast.analysis.matrix import finished_stages
from holdfast.analysis.results import MethodRun, Results
from holdfast.analysis.transitions import ItemHistory
from holdfast.analysis.views import analyse
from holdfast.errors import HoldfastError
from holdfast.report.page import build
from holdfast.report.sections.setup import setup, tasks_table
from holdfast.report.sections.tasks import matrices, per_task
from results_helpers import make_results

TASKS, ORDER = ("a", "b", "c"), ("c", "a", "b")
# Rows: base, then after training on c, on a, on b. Columns: a, b, c.
ACCURACY = np.array(
    [
        [0.2, 0.3, 0.1],
        [0.3, 0.3, 0.8],
        [0.7, 0.4, 0.9],
        [0.6, 0.9, 0.5],
    ]
)


def _records(task: str, accuracy: float) -> list[dict]:
    """Ten items, the first ones right."""
    return [
        {
            "id": f"{task}-{index}", "prompt": "?", "response": "x", "answer": "x", "reference": "y",
            "score": float(index < round(10 * accuracy)), "lenient": float(index < round(10 * accuracy)),
            "format": 1.0, "tokens": 1, "finished": True, "meta": {},
        }
        for index in range(10)
    ]  # fmt: skip


@pytest.fixture
def results() -> Results:
    cells = {
        (stage, task): _records(task, ACCURACY[stage, column])
        for stage in range(4)
        for column, task in enumerate(TASKS)
    }
    run = MethodRun("own", 0, "cot", False, "sft", cells, order=ORDER)
    return Results("orders", TASKS, (), dict.fromkeys(TASKS), {}, (run,))


def test_measures_follow_the_order_of_training(results):
    draws = resample(results, results.runs, 20)["own"]
    found = {name: values[0] for name, values in draws.metrics.items()}
    assert found["avg_acc"] == pytest.approx((0.6 + 0.9 + 0.5) / 3)
    assert found["fm"] == pytest.approx(((0.5 - 0.9) + (0.6 - 0.7)) / 2)  # old: c, best at stage 2, and a
    assert found["bwt"] == pytest.approx(((0.5 - 0.8) + (0.6 - 0.7)) / 2)
    assert found["plasticity"] == pytest.approx((0.8 + 0.7 + 0.9) / 3)
    assert found["learned"] == pytest.approx((0.8 + 0.7 + 0.9) / 3 - (0.2 + 0.3 + 0.1) / 3)
    assert draws.accuracy_BST[0] == pytest.approx(ACCURACY)  # columns stay in the experiment's order


def test_old_tasks_are_those_before_the_last_of_the_order(results):
    found = ItemHistory(results.runs, results).to_end()
    assert [(entry.task, entry.since) for entry in found] == [("c", 1), ("a", 2)]


def test_a_stage_is_finished_when_the_tasks_learned_so_far_are_evaluated(results):
    (run,) = results.runs
    kept = {(1, "c"), (2, "c"), (2, "a")}
    partial = replace(run, cells={cell: rows for cell, rows in run.cells.items() if cell in kept})
    assert finished_stages(partial, results) == 2
    assert finished_stages(replace(partial, order=()), results) == 0  # a would have come first


def test_tables_keep_the_columns_and_name_the_stages(results):
    analysis = analyse(results)
    just = next(row for row in per_task(analysis).rows if row["when"] == "just trained")
    assert [just[task].value for task in TASKS] == pytest.approx([0.7, 0.9, 0.8])
    assert [row["trained_on"] for row in matrices(analysis).rows] == ["base", "c", "a", "b"]
    assert dict(setup(analysis))["Sequence"] == "c → a → b"
    assert [row["part"] for row in tasks_table(analysis).rows] == ["stage 2", "stage 3", "stage 1"]


@pytest.mark.usefixtures("undrawn")
def test_a_report_of_two_orders_names_both(tmp_path):
    results = make_results(("sft", "grpo"), items=20, sequence=("diagrams", "reading", "photos"), general=())
    turned = replace(results.runs[1], order=("photos", "diagrams", "reading"))
    results = replace(results, runs=(results.runs[0], turned))
    html = build(results, tmp_path).read_text(encoding="utf-8")
    assert "Tasks of grpo" in html
    assert "photos → diagrams → reading" in html


def test_seeds_of_one_method_share_an_order(results):
    (run,) = results.runs
    with pytest.raises(HoldfastError, match="own: seed 1 learned the tasks in another order than seed 0"):
        resample(results, [run, replace(run, seed=1, order=TASKS)], 20)
