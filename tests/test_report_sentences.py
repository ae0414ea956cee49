"""What the report says in words: no more than intervals and tests allow."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from holdfast.analysis.comparisons import compare
from holdfast.analysis.families import matched_rows
from holdfast.analysis.paired import holm
from holdfast.analysis.permutation import Difference
from holdfast.analysis.views import analyse
from holdfast.report.sections.definitions import section as definitions
from holdfast.report.sections.differences import differences, findings
from holdfast.report.sections.learned import cautions, origins
from holdfast.report.sections.setup import setup
from holdfast.report.table import signed
from results_helpers import METHODS, SHORT, make_results


def test_where_the_final_average_comes_from() -> None:
    analysis = analyse(make_results(("sft", "grpo", "joint_grpo"), items=60, sequence=SHORT))
    table = origins(analysis)
    assert [row["method"] for row in table.rows] == ["sft", "grpo"]
    for row in table.rows:
        parts = sum(row[key].value for key in ("base", "fwt", "tlg", "bwt"))
        assert parts == pytest.approx(row["avg_acc"].value)
    assert "ctm" not in table.rows[0]  # nothing trained on all tasks by SFT
    joint = analysis.by_name["joint_grpo"].metric("avg_acc").value
    assert table.rows[1]["ctm"].value == pytest.approx(table.rows[1]["avg_acc"].value / joint)
    assert table.rows[1]["ctm"].low < table.rows[1]["ctm"].value < table.rows[1]["ctm"].high


@pytest.mark.slow
def test_findings_say_what_the_intervals_allow():
    clear = analyse(make_results(items=400))
    said = {finding.topic: finding.text for finding in findings(clear)}
    assert said["Forgetting"].startswith("grpo forgot less than sft: FM −")
    results = make_results(("sft",), items=100)
    twin = analyse(replace(results, runs=(*results.runs, replace(results.runs[0], method="twin"))))
    said = {finding.topic: finding.text for finding in findings(twin)}
    assert said["Forgetting"].startswith("No difference shown between twin and sft")
    assert "difference 0.0\u00a0[0.0,\u00a00.0]" in said["Forgetting"]
    assert "Unequal learning" not in said


@pytest.mark.slow
def test_unequal_learning_is_said_of_tested_differences_in_accuracy():
    """Just after training, whatever the bases: two prompt styles start from two."""
    results = make_results(items=400)
    said = {finding.topic: finding.text for finding in findings(analyse(results))}
    gap = analyse(results).comparisons[0].differences["plasticity"]
    assert gap.shown and gap.value < 0
    expected = "Accuracy just after training differs from that of sft: grpo by −"
    assert said["Unequal learning"].startswith(expected)
    (sft, _) = results.runs
    no_base = {
        cell: [record | {"score": 0.0} for record in rows] if cell[0] == 0 else rows
        for cell, rows in sft.cells.items()
    }
    twin = replace(sft, method="twin", style="direct", cells=no_base)
    analysis = analyse(replace(results, runs=(sft, twin)))
    assert "Unequal learning" not in {finding.topic for finding in findings(analysis)}
    assert any("start from two bases" in note for note in cautions(analysis))


def test_intervals_hold_possible_values_alone():
    results = make_results(items=100)
    first, second = results.runs
    two_seeds = replace(results, runs=(first, replace(second, method="sft", objective="sft", seed=1)))
    (method,) = analyse(two_seeds).methods  # so few that are so unlike make a very long interval
    assert method.metric("fm").high == 0
    assert method.metric("plasticity").high == 1
    for task in range(7):
        assert 0 <= method.cell(-1, task).low <= method.cell(-1, task).high <= 1


def test_the_smallest_tasks_limit_what_avg_acc_resolves():
    analysis = analyse(make_results(("sft",), items=500, sequence=SHORT, general=()))
    uneven = replace(analysis, items=dict(zip(SHORT, (500, 500, 20), strict=True)))
    (note,) = [note for note in cautions(uneven) if "resolve" in note]
    # As many as 9 / (1/500 + 1/500 + 1/20) = 167 items: 2.8 sqrt(0.2 / 167).
    assert "together 9.7 points in AvgAcc" in note
    said = "20 test items of the smallest task resolve a difference between two methods of 28.0 points on it,"
    assert note.startswith(said)


@pytest.mark.slow
def test_findings_of_many_methods_compare_with_sft():
    analysis = analyse(make_results(tuple(METHODS), items=100, seeds=(0, 1)))
    said = {finding.topic: finding.text for finding in findings(analysis)}
    assert said["Forgetting"].startswith("Compared with sft (FM −")
    assert said["All tasks at once"].startswith("joint_sft reached AvgAcc")
    table = differences(analysis)
    assert [row["method"] for row in table.rows] == ["grpo", "rloo", "remax", "rif_grpo"]
    assert any("so few make them long" in note for note in cautions(analysis))


def test_methods_that_end_alike_are_both_the_best():
    results = make_results(("grpo", "joint_grpo"), items=40, sequence=SHORT, general=())
    twin = replace(results.runs[0], method="twin")
    found = findings(analyse(replace(results, runs=(*results.runs, twin))))
    (said,) = (finding.text for finding in found if finding.topic == "All tasks at once")
    grpo = said.partition("the best sequential methods are grpo with ")[2].partition(" and twin with ")
    assert grpo[0] and f"{grpo[0]}." == grpo[2]


def test_an_experiment_may_name_its_reference():
    results = make_results(("sft", "grpo", "remax"), items=60, sequence=SHORT, general=())
    named = replace(results, settings={**results.settings, "reference": "grpo"})
    analysis = analyse(named)
    assert {c.method.name: c.reference.name for c in analysis.comparisons} == {"sft": "grpo", "remax": "grpo"}
    assert {row.reference for row in matched_rows(analysis)} == {"grpo"}
    mine, other = (one.comparisons[0].differences["fm"] for one in (analysis, analyse(results)))
    assert mine.value == pytest.approx(-other.value)  # sft - grpo, grpo - sft


@pytest.mark.parametrize(
    ("low", "p", "said"),
    [
        (0.01, 0.04, "grpo forgot less than sft: FM"),
        (0.01, 0.06, "No difference shown between grpo and sft: FM"),
        (-0.01, 0.0005, "No difference shown between grpo and sft: FM"),
    ],
)
def test_a_sentence_needs_the_interval_and_the_test(low, p, said):
    analysis = analyse(make_results(items=20, sequence=SHORT, general=()))
    (comparison,) = analysis.comparisons
    gaps = {**comparison.differences, "fm": Difference(0.031, low, 0.05, p, math.nan)}
    analysis.__dict__["comparisons"] = [replace(comparison, differences=gaps)]
    found = {finding.topic: finding.text for finding in findings(analysis)}["Forgetting"]
    assert found.startswith(said)
    assert found.endswith("; one seed.")
    assert (
        f"difference +3.1\u00a0[{signed(100 * low)},\u00a0+5.0], p\u00a0{'<' if p < 0.01 else '='}\u00a00.0"
        in found
    )


def test_seeds_are_not_called_one():
    analysis = analyse(make_results(items=20, sequence=SHORT, general=(), seeds=(0, 1)))
    assert not any("one seed" in finding.text for finding in findings(analysis))
    assert "One seed" not in differences(analysis).note


def test_methods_are_compared_within_their_order():
    results = make_results(("sft", "grpo"), items=30, sequence=SHORT, general=())
    order = ("photos", "diagrams", "reading")
    turned = [replace(run, method=f"{run.method}_turned", order=order) for run in results.runs]
    analysis = analyse(replace(results, runs=(*results.runs, *turned)))
    table = differences(analysis)
    assert [(row["method"], row["against"]) for row in table.rows] == [
        ("grpo", "sft"),
        ("grpo_turned", "sft_turned"),
    ]
    said = [finding.text for finding in findings(analysis) if finding.topic == "Forgetting"]
    assert len(said) == 2
    assert "grpo_turned" in said[1] and "sft_turned" in said[1]


def test_in_another_order_the_reference_is_its_counterpart():
    results = make_results(("sft", "grpo"), items=30, sequence=SHORT, general=())
    turned = ("photos", "diagrams", "reading")
    runs = [
        replace(
            run,
            method=f"{run.method} learning_rate={rate} order={order or 'none'}",
            family=run.method,
            axes={"learning_rate": rate, "order": order},
            order=turned if order else run.order,
        )
        for run in results.runs
        for order in (None, "turned")
        for rate in (0.1, 0.2)
    ]
    settings = {**results.settings, "reference": "grpo learning_rate=0.2 order=none"}
    analysis = analyse(replace(results, runs=tuple(runs), settings=settings))
    assert [reference.name for reference, _ in analysis.references] == [
        "grpo learning_rate=0.2 order=none",
        "grpo learning_rate=0.2 order=turned",
    ]
    said = {finding.topic: finding.text for finding in findings(analysis)}
    assert said["Forgetting, order=turned"].startswith("Compared with grpo learning_rate=0.2 (FM")
    assert not any("order=" in text for text in said.values())
    facts = dict(setup(analysis))
    assert facts["Tasks of order=turned"] == "photos → diagrams → reading" and "Sequence" not in facts


def test_p_values_are_adjusted_over_the_whole_table():
    analysis = analyse(make_results(("sft", "grpo", "remax"), items=100, sequence=SHORT, general=()))
    sft, grpo, remax = analysis.methods
    raw = {
        (method.name, name): compare([(method, sft)], analysis.results, (name,))[0].differences[name].p
        for method in (grpo, remax)
        for name in ("avg_acc", "fm", "bwt", "plasticity")
    }
    adjusted = dict(zip(raw, holm(list(raw.values())), strict=True))
    for comparison in analysis.comparisons:
        for name in ("avg_acc", "fm", "bwt", "plasticity"):
            assert comparison.differences[name].p == pytest.approx(adjusted[comparison.method.name, name])
    assert any(value < 0.05 for value in adjusted.values())  # else there would be nothing to adjust


def test_cautions_name_one_seed_and_what_the_items_resolve():
    notes = cautions(analyse(make_results(items=500, sequence=("diagrams", "reading"), general=())))
    assert any(note.startswith("One seed:") for note in notes)
    assert any("500 test items per task resolve" in note and "5.6 points" in note for note in notes)


def test_one_prompt_is_said_where_there_is_one():
    results = make_results(items=10, sequence=SHORT)
    two = replace(results, runs=(replace(results.runs[0], style="direct"), *results.runs[1:]))
    said, other = (definitions(analyse(one)).note for one in (results, two))
    assert "one prompt for every method and the base" in said
    assert "one prompt" not in other and "the prompt it was trained with" in other
