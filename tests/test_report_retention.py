"""The report on strategies against forgetting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from holdfast.analysis.results import Results
from holdfast.analysis.views import analyse
from holdfast.report.sections.retention import section, strategies, trade
from holdfast.report.style import looks_of
from results_helpers import make_results


def with_strategies(ewc: float, er: float) -> Results:
    """Two methods, the second with two strategies of these shares from the second stage on."""
    results = make_results(("sft", "grpo"), items=30, sequence=("diagrams", "reading", "photos"))
    first, second = results.runs

    def row(step: int, stage: int) -> dict[str, Any]:
        shares = {"ewc_share": ewc, "er_share": er} if stage else {"ewc_share": 0.0}
        return {"step": step, "loss": 0.1, **shares}

    curves = [[row(step, stage) for step in range(4)] for stage in range(3)]
    settings = dict(results.settings)
    given = [{"kind": "ewc", "strength": 1}, {"kind": "rules.py:er"}]
    settings["methods"] = settings["methods"] | {"grpo": {"objective": "grpo", "retention": given}}
    totals = [{"seconds": 1.0, "flops": 2e9}] * 3
    changed = replace(second, curves=curves, totals=totals)
    return replace(results, runs=(first, changed), settings=settings)


def test_shares_are_of_the_stages_that_have_something_to_retain() -> None:
    analysis = analyse(with_strategies(ewc=0.004, er=0.25))
    table = strategies(analysis)
    assert [(row["method"], row["strategy"], row["settings"], row["share"]) for row in table.rows] == [
        ("sft", None, None, None),
        ("grpo", "ewc", "strength 1", 0.004),
        ("grpo", "er", None, 0.25),
    ]
    assert table.rows[1]["flops"] == 6e9
    (caution,) = section(analysis).cautions
    assert caution.startswith("ewc of grpo had a share of 0.40 %: it did next to nothing")
    assert trade(analysis, looks_of(analysis.methods)) is not None


def test_ctm_is_the_final_average_over_that_of_joint_training() -> None:
    results = with_strategies(ewc=0.02, er=0.25)
    joint = replace(results.runs[0], method="joint", objective="grpo", joint=True)
    settings = dict(results.settings) | {
        "methods": results.settings["methods"] | {"joint": {"objective": "grpo", "joint": True}}
    }
    analysis = analyse(replace(results, runs=(*results.runs, joint), settings=settings))
    row = strategies(analysis).rows[1]
    assert row["ctm"].value == row["avg_acc"].value / analysis.joint[0].draws.metrics["avg_acc"][0]


def test_many_methods_have_their_names_beside_them() -> None:
    results, names = with_strategies(ewc=0.02, er=0.25), [f"m{number}" for number in range(13)]
    runs = tuple(replace(results.runs[0], method=name) for name in names)
    settings = dict(results.settings) | {"methods": {name: {"objective": "sft"} for name in names}}
    analysis = analyse(replace(results, runs=runs, settings=settings))
    figure = trade(analysis, looks_of(analysis.methods))
    assert figure is not None and not figure.legends
    assert sorted(text.get_text() for text in figure.axes[0].texts if text.get_text()) == sorted(names)


def test_a_strategy_that_counts_is_not_warned_of() -> None:
    assert not section(analyse(with_strategies(ewc=0.02, er=0.25))).cautions


def test_without_strategies_there_is_no_section() -> None:
    made = section(analyse(make_results(("sft", "grpo"), items=10, sequence=("diagrams", "reading"))))
    assert not made.parts and not made.cautions
