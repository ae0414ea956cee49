"""Drift, implicit regularisation, the probe and budgets, as tables, figures and page."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from holdfast.analysis.bootstrap import Estimate
from holdfast.analysis.regularisation import (
    BINS,
    CLAIMS,
    IDENTITY,
    IDENTITY_STD,
    bin_of,
    fit_claim,
    instances_of,
    mean_by_bin,
    mean_of,
    recovery,
)
from holdfast.analysis.views import analyse
from holdfast.report import panels, style
from holdfast.report.page import build
from holdfast.report.sections.drift import divergence, group_movement, groups_of, movement, movement_figure
from holdfast.report.sections.predictors import predictor_figure, predictor_tables
from holdfast.report.sections.probe import probe_table
from holdfast.report.sections.risk import (
    risk_by_method,
    risk_figure,
    risk_table,
    selective_figure,
    selective_table,
)
from holdfast.report.sections.training import budget, zero_advantage_table
from holdfast.report.style import looks_of
from holdfast.report.table import number
from measured_results import make_grid, make_risk, with_measures, without_drift_at
from results_helpers import SHORT, make_results

NEW = {
    "risk_by_method",
    "drift",
    "movement",
    "movement_by_group",
    "predictors",
    "predictors_chains",
    "risk",
    "selective",
}


def measured(methods=("sft", "grpo"), **more):
    settings = {"items": 60, "sequence": SHORT, "general": ("facts",)}
    return with_measures(make_results(methods, **(settings | more)))


def rows_by_method(table):
    return {row["method"]: row for row in table.rows}


# Implicit regularisation


def test_the_variance_identity_by_hand():
    """Risks that are exactly variance × SFT's have a slope of 1, whatever lies at zero."""
    rows = [
        {
            "pass_rate": p,
            "reward_mean": p,
            "reward_variance": p * (1 - p),
            "risk_sft_answer": 2.0 + p,
            "risk_rft": p * (1 - p) * (2 + p),
        }
        for p in (0, 0.125, 0.25, 0.5, 0.75, 0.875, 1)
    ]
    found = fit_claim(IDENTITY, rows)
    assert (found.instances, found.live) == (7, 5)
    assert found.slope == Estimate(*[pytest.approx(1)] * 3)
    assert (found.rho.value, found.r2.value) == (pytest.approx(1), pytest.approx(1))
    doubled = [row | {"risk_rft": 2 * row["risk_rft"]} for row in rows]
    assert fit_claim(IDENTITY, doubled).slope.value == pytest.approx(2)
    assert fit_claim(IDENTITY, rows[:5]) is None  # four with differing rewards
    assert fit_claim(CLAIMS[1], rows) is None  # no reasoned targets
    equal = fit_claim(IDENTITY, [row | {"risk_rft": 0.5} for row in rows])
    assert np.isnan(equal.r2.value) and np.isfinite(equal.slope.value)  # what does not vary is not explained


@pytest.mark.parametrize("reward", [0.1, 0.95])
def test_equal_rewards_do_not_differ_by_their_rounding(reward):
    """Eight equal rewards in float32 have a variance just above 0; they say nothing about the slope."""
    rounded = torch.full((8,), reward).var(correction=0).item()
    assert 0 < rounded < 1e-14
    live = [
        {"reward_mean": 0.5, "reward_variance": 0.2, "risk_sampled": 1.0 + p, "risk_rft_std": 0.875 * (1 + p)}
        for p in range(5)
    ]
    equal = {"reward_mean": reward, "reward_variance": rounded, "risk_sampled": 9.0, "risk_rft_std": 0.0}
    found = fit_claim(CLAIMS[6], [*live, equal, equal])
    assert (found.instances, found.live) == (7, 5)
    assert (found.slope.value, found.r2.value) == (pytest.approx(0.875), pytest.approx(1))


def test_the_interval_of_the_slope_holds_the_planted_one():
    covered = 0
    for seed in range(40):
        rows = make_risk(np.random.default_rng(seed), instances=120, slope=0.8)["instances"]
        # Spread is log-normal around 0.8 with a mean of exp(0.25² / 2).
        slope = fit_claim(IDENTITY, rows).slope
        covered += slope.low <= 0.8 * np.exp(0.25**2 / 2) <= slope.high
        assert slope.low > 0.6 and slope.high < 1.2
    assert covered >= 34


def test_dividing_by_the_standard_deviation_takes_the_damping_out():
    rows = make_risk(np.random.default_rng(1), instances=400)["instances"]
    damped, undamped = fit_claim(IDENTITY_STD, rows), fit_claim(CLAIMS[5], rows)
    assert damped.claim.damped and not undamped.claim.damped
    assert undamped.slope.value == pytest.approx(np.exp(0.25**2 / 2), abs=0.1)
    assert damped.slope.value > 4  # at most a quarter of SFT's risk is what the identity would allow


def test_policies_are_brought_to_one_scale():
    results = measured()
    run = results.runs[0]
    second = run.measured("risk")[2]
    larger = {**second, "instances": [
        {k: 1000 * v if k.startswith("risk_") and v is not None else v for k, v in row.items()}
        for row in second["instances"]
    ]}  # fmt: skip
    ours, theirs = (instances_of([replace(run, measures={"risk": {2: risk}})]) for risk in (second, larger))
    assert [row["risk_rft"] for row in ours] == pytest.approx([row["risk_rft"] for row in theirs])
    assert np.mean([row["risk_sft_answer"] for row in ours]) == pytest.approx(1)


def test_bins_of_the_pass_rate():
    rates = (0, 0.125, 0.25, 0.26, 0.5, 0.75, 0.875, 0.999, 1)
    assert [BINS[bin_of(rate)] for rate in rates] == [
        "0", "(0, ¼]", "(0, ¼]", "(¼, ½]", "(¼, ½]", "(½, ¾]", "(¾, 1)", "(¾, 1)", "1",
    ]  # fmt: skip
    rows = [{"pass_rate": 1.0, "x": x} for x in (1.0, 3.0, 1.0, 3.0, 2.0)] + [{"pass_rate": 0.5, "x": 4.0}]
    means = mean_by_bin(rows, "x")
    assert means[5].value == 2 and 1 <= means[5].low < 2 < means[5].high <= 3.1
    assert means[2].value == 4 and np.isnan(means[2].low)  # too few for an interval
    assert np.isnan(means[0].value)


def test_risk_and_selective_tables():
    analysis = analyse(measured())
    table = risk_table(analysis)
    assert [row["method"] for row in risk_by_method(analysis).rows] == ["sft", "sft", "grpo", "grpo"]
    assert table.rows[0]["slope"].low < 0.85 < table.rows[0]["slope"].high + 0.1
    assert "(G − 1) / G" in table.note  # with the division 1 would not agree
    rows = selective_table(analysis).rows
    assert len({row["family"] for row in rows}) == 2 and len(rows) == 2 * len(BINS)
    bins = {row["pass_rate"]: row for row in rows if row["family"] == "grpo"}
    for end in ("0", "1"):
        assert bins[end]["norm_group"].value == 0 and bins[end]["norm_sft_answer"].value > 0.1
    assert bins["(¼, ½]"]["effect_group"].value < 0
    assert sum(row["instances"] for row in rows) == 2 * 2 * 48
    assert "norm_sft_reasoned" not in {column.key for column in selective_table(analysis).columns}


def test_no_advantage_is_of_methods_that_compare_within_the_group():
    """Equal rewards still push under remax and reinforce, and SFT has no rewards."""
    results = measured(("sft", "grpo", "rloo", "remax"))
    plain = replace(results.runs[3], method="reinforce", objective="reinforce")
    analysis = analyse(replace(results, runs=(*results.runs, plain)))
    rows = rows_by_method(zero_advantage_table(analysis))
    assert set(rows) == {"grpo", "rloo"}
    shares = [entry["zero_variance"] for entry in analysis.by_name["grpo"].runs[0].curves[0]]
    assert rows["grpo"]["first"] == pytest.approx(np.mean(shares))
    styles = looks_of(analysis.methods)
    (panel,) = [
        axes
        for axes in selective_figure(analysis, styles).axes
        if axes.get_title().startswith("Prompts without an advantage")
    ]
    assert len(panel.lines) == 2


def test_no_advantage_says_where_such_prompts_were_replaced():
    results = measured(("grpo", "rloo"))
    again = [[row | {"drawn": 2.0, "zero_variance": 0.0} for row in rows] for rows in results.runs[0].curves]
    runs = (replace(results.runs[0], curves=again), results.runs[1])
    note = zero_advantage_table(analyse(replace(results, runs=runs))).note
    assert "grpo drew other prompts in the places of such ones" in note
    assert "refills" not in zero_advantage_table(analyse(results)).note


def test_no_advantage_has_an_interval_over_seeds():
    results = measured(("grpo",), seeds=(0, 1))
    lower = [[row | {"zero_variance": 0.1} for row in rows] for rows in results.runs[1].curves]
    analysis = analyse(replace(results, runs=(results.runs[0], replace(results.runs[1], curves=lower))))
    (row,) = zero_advantage_table(analysis).rows
    assert all(row[key].low < row[key].value < row[key].high for key in ("first", "last", "mean"))


@pytest.mark.usefixtures("unsaved")
def test_no_advantage_is_shown_without_measured_risk(tmp_path):
    html = build(make_results(items=10, sequence=SHORT, general=()), tmp_path).read_text(encoding="utf-8")
    assert "<h3>Prompts without an advantage</h3>" in html and 'id="why"' not in html
    assert "## Prompts without an advantage" in (tmp_path / "report.md").read_text(encoding="utf-8")


# Drift


def test_drift_is_averaged_over_stages_prompts_and_seeds():
    results = measured(("sft",), seeds=(0, 1))
    row = divergence(analyse(results)).rows[0]
    values = [
        entry["forward"]
        for run in results.runs
        for stage, drift in run.measured("drift").items()
        for entry in drift["kl"]
        if entry["reference"] == ("previous" if stage > 1 else "base") and entry["task"] == SHORT[stage - 1]
    ]
    assert len(values) == 6
    assert row["forward_new"].value == pytest.approx(np.mean(values))
    assert row["forward_new"].low < row["forward_new"].value < row["forward_new"].high
    base = [
        entry["reverse"] for run in results.runs for entry in run.measured("drift")[3]["kl"]
        if entry["reference"] == "base" and entry["task"] in SHORT
    ]  # fmt: skip
    assert row["reverse_base"].value == pytest.approx(np.mean(base))


def test_the_interval_of_one_seed_is_that_of_what_was_sampled():
    results = measured(("sft",), sequence=SHORT[:1])
    (row,) = divergence(analyse(results)).rows
    (entry,) = [e for e in results.runs[0].measured("drift")[1]["kl"] if e["task"] == "diagrams"]
    assert row["forward_new"].high - row["forward_new"].low == pytest.approx(
        3.92 * entry["forward_se"], rel=0.1
    )
    assert row.get("forward_old") is None
    assert "forward_old" not in {column.key for column in divergence(analyse(results)).columns}


def test_drift_of_a_joint_method_is_that_from_the_base():
    results = measured(("sft", "joint_sft"))
    kl = [
        {"task": task, "reference": "base", "forward": value, "reverse": 2 * value}
        for task, value in zip((*SHORT, "facts"), (1.0, 2.0, 3.0, 8.0), strict=True)
    ]
    joint = replace(results.runs[1], measures={"drift": {1: {"kl": kl, "movement": []}}})
    row = rows_by_method(divergence(analyse(replace(results, runs=(results.runs[0], joint)))))["joint_sft"]
    assert (row["forward_new"], row["reverse_new"]) == (2, 4) == (row["forward_base"], row["reverse_base"])
    assert (row["forward_general"], row["forward_old"]) == (8, None)


def test_movement():
    analysis = analyse(measured(("sft", "grpo")))
    row = rows_by_method(movement(analysis))["sft"]
    whole = [drift["movement"][-1] for drift in analysis.results.runs[0].measured("drift").values()]
    assert row["l2"] == pytest.approx(np.mean([entry["l2"] for entry in whole]))  # one seed: no interval
    assert row["cosine"] == pytest.approx(
        np.mean([entry["cosine"] for entry in whole[1:]])
    )  # none at stage 1
    assert groups_of(analysis)[-1] == "all"
    assert np.isnan(group_movement(analysis.methods[0], "no such part"))


# The probe


def test_the_share_that_came_back():
    pairs = np.array([[0.10, 0.05], [0.20, 0.10], [0.10, 0.05], [0.16, 0.08], [0.12, 0.06]])
    found = recovery(pairs)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    thrice = recovery(pairs * [1, 6])  # a probe may teach more than was lost
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx((3, 3, 3))
    uneven = np.array([[0.30, 0.50], [0.02, -0.50], [0.03, 0.60], [0.02, 0.40], [0.30, 0.10]])
    wide = recovery(uneven)  # some draws bring back more than all that any share can tell
    assert 1 < wide.value < 2 and wide.high == 2
    lost_little = np.array([[0.1, 0.05], [-0.1, 0.0], [0.02, 0.01], [0.05, 0.0], [-0.03, 0.0]])
    assert np.isnan(recovery(lost_little).value)  # no loss shown
    assert np.isnan(recovery(lost_little[:2]).value)
    assert np.isnan(recovery(np.empty((0, 2))).value)
    few = recovery(pairs[:4])  # too few for an interval
    assert few.value == pytest.approx(0.5) and np.isnan(few.low)


def test_few_values_have_no_interval_and_more_one_of_the_right_width():
    values = np.random.default_rng(0).normal(0.3, 0.1, 6)
    few = mean_of(values[:4], -1)
    assert np.isnan(few.low) and few.value == pytest.approx(values[:4].mean())
    found = mean_of(values, -1)
    assert (found.high - found.low) / 3.92 == pytest.approx(values.std(ddof=1) / np.sqrt(6), rel=0.1)


def test_the_probe_table():
    results = measured(("sft",), seeds=(0, 1), items=200, sequence=(*SHORT, "relations"))
    table = probe_table(analyse(results))
    assert "unless these steps taught it anew" in table.note and "too short where they are few" in table.note
    row = table.rows[0]
    just, end = (
        np.mean([
            np.mean([record["score"] for record in run.cells[stage or at, task]])
            for run in results.runs
            for at, task in enumerate(results.sequence[:-1], start=1)
        ])
        for stage in (0, 4)
    )  # fmt: skip
    assert (row["just"], row["end"]) == pytest.approx((just, end))
    probed = [entry for run in results.runs for entry in run.measured("probe")[4]["rows"]]
    after = np.mean([entry["after"] for entry in probed])
    assert row["share"].value == pytest.approx((after - end) / (just - end))
    assert 0.5 < row["share"].low <= row["share"].value <= row["share"].high < 0.85
    assert row["lost"].value == pytest.approx(end - just) and row["lost"].high < 0


def test_a_probe_that_judges_by_some_items_is_compared_on_these():
    results = measured(("sft",), items=40)
    run = results.runs[0]
    ((stage, probe),) = run.measured("probe").items()
    rows = [row | {"items": 10} for row in probe["rows"]]
    few = replace(run, measures={"probe": {stage: {"rows": rows}}})
    row = probe_table(analyse(replace(results, runs=(few,)))).rows[0]
    cells = [run.cells[stage, task][:10] for stage, task in enumerate(SHORT[:-1], start=1)]
    assert row["just"] == pytest.approx(np.mean([[record["score"] for record in cell] for cell in cells]))


# Budgets


def test_budgets_count_operations_and_the_filters_rollouts():
    results = measured(("sft", "rif_grpo"))
    run = results.runs[1]
    filters = [entry | {"completions": 16_000, "seconds": 30.0} for entry in run.filters]
    totals = [total | {"joules": 500.0} for total in run.totals]
    results = replace(results, runs=(results.runs[0], replace(run, filters=filters, totals=totals)))
    table = budget(analyse(results))
    sft, rif = table.rows
    assert rif["filter_completions"] == 48_000 and rif["filter_seconds"] == 90 and rif["joules"] == 1500
    assert sft["filter_completions"] is None and sft["joules"] is None
    assert sft["flops"] == pytest.approx(3 * 3.4e13)
    plain = budget(analyse(make_results(items=10, sequence=SHORT, general=())))
    assert {column.key for column in plain.columns}.isdisjoint(
        {"flops", "joules", "prompt_tokens", "filter_seconds"}
    )


def test_budgets_count_what_was_sampled_not_what_was_learned_from():
    results = measured(("sft", "grpo", "rloo"))
    sampled = {"sft": 0, "grpo": 6000}  # rloo: a store that does not say
    runs = [
        replace(run, totals=[total | {"sampled": sampled[run.method]} for total in run.totals])
        if run.method in sampled
        else run
        for run in results.runs
    ]
    own = replace(runs[0], method="self_sft", totals=[t | {"sampled": 2560} for t in runs[0].totals])
    rows = rows_by_method(budget(analyse(replace(results, runs=(*runs, own)))))
    assert {name: row["completions"] for name, row in rows.items()} == {
        "sft": None, "grpo": 18_000, "rloo": 3 * 5120, "self_sft": 3 * 2560,
    }  # fmt: skip


def test_numbers_of_any_size():
    assert number(3.4e13, "flop") == "34.0\u00a0TFLOP"
    assert (number(950.0, "joule"), number(0.0, "joule")) == ("950.0\u00a0J", "0.0\u00a0J")
    assert [number(value, "digits") for value in (0.03456, 12.345, 1234.5, -0.5, 2e-7, 0.0)] == [
        "0.0346", "12.3", "1,235", "−0.500", "2.0e−7", "0",
    ]  # fmt: skip
    assert [number(value, "coefficient") for value in (-0.834, 0.5, -0.001)] == ["−0.83", "0.50", "0.00"]


# The page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    results = with_measures(
        make_grid(ladder=(1e-4, 4e-4), seeds=(0, 1), items=20, sequence=SHORT, general=("facts",))
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(style, "save_pdf", lambda *_: None)
        patched.setattr(panels, "_lay_out", lambda *_: None)
        return build(results, tmp_path_factory.mktemp("grid"))


@pytest.mark.slow
def test_every_section_stands_in_the_page(page):
    html = page.read_text(encoding="utf-8")
    for section in ("settings", "drift", "why", "risk", "probe"):
        assert html.count(f'id="{section}"') == 1 and f'href="#{section}"' in html
    for name in NEW | {"probe", "probe_by_task", "zero_advantage"}:
        rows = list(csv.DictReader((page.parent / f"tables/{name}.csv").open(encoding="utf-8")))
        assert len(rows) == len(json.loads((page.parent / f"tables/{name}.json").read_text())["rows"]) > 0
    for name in ("along_learning_rate", "pareto", "movement", "predictors", "risk", "selective"):
        assert (page.parent / f"figures/{name}.png").is_file()
    text = (page.parent / "report.md").read_text(encoding="utf-8")
    assert "## Re-alignment probe" in text and "Is RFT's risk SFT's" in text
    assert not re.search(r">\s*\[?nan", html)


@pytest.mark.usefixtures("undrawn")
def test_a_report_without_measurements_stays_as_it_was(tmp_path):
    build(make_results(items=10, sequence=SHORT, general=("facts",)), tmp_path)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    for section in ("settings", "drift", "why", "risk", "probe"):
        assert f'id="{section}"' not in html and f'href="#{section}"' not in html
    assert not {path.stem for path in (tmp_path / "tables").iterdir()} & NEW


@pytest.mark.slow
@pytest.mark.usefixtures("unsaved")
def test_partly_measured_runs(tmp_path):
    """A stage without drift, an unfinished chain, no probe yet, and a joint run beside them."""
    results = measured(("sft", "joint_sft", "grpo"), stages_done=2)
    first = without_drift_at(2, results.runs[0])
    build(replace(results, runs=(first, *results.runs[1:])), tmp_path)
    rows = json.loads((tmp_path / "tables/drift.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["sft", "grpo"]
    assert rows[1]["forward_base"] is None
    assert [row["method"] for row in json.loads((tmp_path / "tables/probe.json").read_text())["rows"]] == [
        "sft"
    ]


def test_figures_are_none_without_data():
    analysis = analyse(make_results(items=10, sequence=SHORT, general=()))
    styles = looks_of(analysis.methods)
    for draw in (movement_figure, predictor_figure, risk_figure, selective_figure):
        assert draw(analysis, styles) is None
    assert not any(table.rows for table in predictor_tables(analysis))


def test_no_movement_is_drawn_of_what_began_at_a_length_of_0(recwarn):
    """As adapters do in their first stage."""
    results = measured(("sft",))
    (run,) = results.runs
    drift = run.measured("drift")[1]
    begun = drift | {"movement": [row | {"relative": None} for row in drift["movement"]]}
    analysis = analyse(replace(results, runs=(replace(run, measures={"drift": {1: begun}}),)))
    assert movement_figure(analysis, looks_of(analysis.methods)) is None
    assert not recwarn.list


@pytest.mark.slow
def test_axes_of_predictors_say_what_they_are_in(monkeypatch):
    monkeypatch.setattr("holdfast.report.sections.predictors.SHOWN", 9)
    analysis = analyse(measured(("sft", "grpo"), seeds=(0, 1, 2)))
    looks = looks_of(analysis.methods)
    figure = predictor_figure(analysis, looks)
    gained = next(one for one in figure.axes if one.get_xlabel().startswith("Accuracy gained"))
    assert gained.get_xlabel().replace("\n", " ").endswith(", points")
    shown = np.concatenate([line.get_xdata() for line in gained.lines if line.get_linestyle() == "None"])
    assert sorted(shown) == pytest.approx(
        sorted(100 * unit.predictors["progress"] for unit in analysis.study.stages)
    )
