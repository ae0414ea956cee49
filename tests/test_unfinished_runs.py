"""Reports of runs on their way: a seed that is not through is no seed that needed less."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.analysis.results import MethodRun, Results
from holdfast.analysis.views import analyse
from holdfast.report.sections.drift import divergence, movement, movement_by_group
from holdfast.report.sections.learned import cautions, headline, origins
from holdfast.report.sections.retention import strategies
from holdfast.report.sections.training import budget, zero_advantage_table
from measured_results import with_measures
from results_helpers import SHORT, make_results


def two_seeds(done: int) -> Results:
    """GRPO with two seeds, the second of which has ended so many stages, and spent twice as much in each."""
    whole = with_measures(make_results(("grpo",), seeds=(0, 1), items=40, sequence=SHORT))
    first, second = whole.runs
    return replace(whole, runs=(first, _until(second, done)))


def _until(run: MethodRun, done: int) -> MethodRun:
    totals = [{key: 2 * value for key, value in total.items()} for total in run.totals]
    return replace(
        run,
        cells={cell: records for cell, records in run.cells.items() if cell[0] <= done},
        curves=run.curves[:done],
        totals=[*totals[:done], *({} for _ in totals[done:])],  # as they are collected
        measures={"drift": {stage: run.measured("drift")[stage] for stage in range(1, done + 1)}},
    )


@pytest.mark.parametrize(("done", "examples"), [(3, 3 * 640 * 1.5), (2, 3 * 640), (0, 3 * 640)])
def test_budgets_are_of_seeds_that_are_through(done, examples):
    table = budget(analyse(two_seeds(done)))
    assert table.rows[0]["examples"] == examples
    assert ("not through" in table.note) == (done < 3)


def test_where_no_seed_is_through_the_budget_is_what_was_spent_so_far():
    results = two_seeds(1)
    table = budget(analyse(replace(results, runs=results.runs[1:])))
    assert table.rows[0]["examples"] == 2 * 640 and "so far" in table.note


def test_operations_beside_strategies_are_of_seeds_that_are_through():
    results = two_seeds(1)
    settings = results.settings | {"methods": {"grpo": {"retention": {"kind": "er", "share": 0.1}}}}
    (row,) = strategies(analyse(replace(results, settings=settings))).rows
    assert row["flops"] == pytest.approx(3 * 2.6 * 3.4e13)


def test_the_last_stage_of_a_run_on_its_way_is_not_its_latest():
    results = two_seeds(1)
    lower = [[row | {"zero_variance": 0.1} for row in rows] for rows in results.runs[1].curves]
    results = replace(results, runs=(results.runs[0], replace(results.runs[1], curves=lower)))
    (row,) = zero_advantage_table(analyse(results)).rows
    (alone,) = zero_advantage_table(analyse(replace(results, runs=results.runs[:1]))).rows
    assert row["last"] == alone["last"] and row["mean"] == alone["mean"]
    assert row["first"].value == pytest.approx((alone["first"] + 0.1) / 2)
    (begun,) = zero_advantage_table(analyse(replace(results, runs=results.runs[1:]))).rows
    assert begun["first"] == pytest.approx(0.1) and begun["last"] is begun["mean"] is None


def test_parts_of_the_average_add_up_while_a_seed_is_on_its_way():
    """Two of three stages are all that FWT needs, and the other parts need three."""
    results = two_seeds(2)
    (row,) = origins(analyse(results)).rows
    (alone,) = origins(analyse(replace(results, runs=results.runs[:1]))).rows
    for key in ("base", "fwt", "tlg", "bwt", "avg_acc"):
        assert row[key].value == pytest.approx(alone[key].value), key
    assert origins(analyse(replace(results, runs=results.runs[1:]))).rows == []


def test_drift_is_of_seeds_that_were_measured_after_every_stage():
    """The first stage starts from the base and moves the policy most: alone it is no mean over stages."""
    results = two_seeds(1)
    both, first, second = (
        analyse(replace(results, runs=runs)) for runs in (results.runs, results.runs[:1], results.runs[1:])
    )
    for table in (movement, divergence, movement_by_group):
        assert table(both).rows == table(first).rows
        assert table(second).rows[0] != table(first).rows[0]


def test_a_metric_counts_the_seeds_that_have_what_it_needs():
    results = make_results(("grpo",), seeds=(0, 1), items=40, sequence=SHORT)
    first, second = results.runs
    cells = {cell: records for cell, records in second.cells.items() if cell != (3, SHORT[0])}
    analysis = analyse(replace(results, runs=(first, replace(second, cells=cells))))
    (row,) = headline(analysis).rows[1:]
    general = [analyse(replace(results, runs=(run,))).methods[0].metric("general") for run in results.runs]
    assert row["seeds"] == "1 of 2" and row["general"].value == sum(one.value for one in general) / 2
    assert any("a metric counts the seeds that have all it needs" in note for note in cautions(analysis))
