"""Comparisons at matched gain and matched budget: which pair is chosen, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from holdfast.analysis.bootstrap import MethodDraws
from holdfast.analysis.families import matched_rows
from holdfast.analysis.matched import Variant, at_matched_budget, at_matched_gain, rollouts, training_flops
from holdfast.analysis.results import Results
from holdfast.analysis.views import analyse
from holdfast.report.page import build
from holdfast.report.sections.matched import matched_findings, matched_table
from results_helpers import make_results

ORDER = ("a", "b", "c")


def _variant(
    name: str, plasticity: float, flops: float | None = None, avg_acc: float = 0.5, spread: float = 0.02,
    order: tuple[str, ...] = ORDER, rollouts: float | None = None,
) -> Variant:  # fmt: skip
    """Draws whose differences have an interval of about ± 2.8 spread."""
    noise = np.random.default_rng([*name.encode()]).normal(0, spread, 2000)
    draws = {
        "plasticity": np.concatenate([[plasticity], plasticity + noise]),
        "avg_acc": np.full(2001, avg_acc),
    }
    return Variant(name, order, MethodDraws(draws, np.empty(0), np.empty(0), 1, 1), flops, rollouts)


def test_matched_gain_takes_the_most_plastic_of_the_closest_pairs():
    sft = [_variant("s1", 0.60), _variant("s2", 0.80), _variant("s3", 0.95)]
    grpo = [_variant("g1", 0.59), _variant("g2", 0.78), _variant("g3", 0.81)]
    match = at_matched_gain(grpo, sft)
    # s3 is out of reach of all; s2 goes with g3, which is closer than g2; s1 with g1 learned less.
    assert (match.variant, match.reference) == ("g3", "s2")
    assert match.plasticity.value == pytest.approx(0.01)
    assert match.matched


def test_the_less_plastic_side_counts_and_neither_side_has_a_closer_partner():
    sft = [_variant("s3", 0.80, spread=0.1), _variant("s1", 0.70), _variant("s2", 0.71)]
    grpo = [_variant("g1", 0.69), _variant("g2", 0.72)]
    # s3 is too uncertain to differ from g2, but g2 is closer to s2.
    assert at_matched_gain(grpo, sft[:1]).variant == "g2"
    match = at_matched_gain(grpo, sft)
    assert (match.variant, match.reference) == ("g2", "s2")


def test_a_reference_that_has_a_closer_partner_is_left_to_it():
    grpo = [_variant("g1", 0.695), _variant("g2", 0.74, spread=0.1)]
    match = at_matched_gain(grpo, [_variant("s1", 0.70)])  # the only one there is for g2
    assert match.variant == "g1"


def test_no_pair_where_every_difference_is_shown():
    assert at_matched_gain([_variant("g", 0.9)], [_variant("s", 0.6)]) is None


def test_another_order_is_no_match():
    other = _variant("g", 0.6, flops=10.0, order=("b", "a", "c"))
    assert at_matched_gain([other], [_variant("s", 0.6)]) is None
    assert at_matched_budget([other], [_variant("s", 0.6, flops=10.0)]) is None


def test_matched_budget_takes_the_best_within_ten_percent():
    sft = [_variant("s1", 0.6, 100.0, 0.50), _variant("s2", 0.6, 200.0, 0.70)]
    grpo = [
        _variant("g1", 0.6, 105.0, 0.60),
        _variant("g2", 0.6, 219.0, 0.55),
        _variant("g3", 0.6, 230.0, 0.9),
    ]
    match = at_matched_budget(grpo, sft)
    assert (match.variant, match.reference, match.matched) == ("g2", "s2", True)  # 1.25 against 1.10
    assert match.ratio == pytest.approx(1.095)


def test_budgets_that_differ_are_the_closest_and_not_matched():
    sft = [_variant("s1", 0.6, 100.0), _variant("s2", 0.6, 200.0)]
    grpo = [_variant("g1", 0.6, 1000.0), _variant("g2", 0.6, 25.0)]
    match = at_matched_budget(grpo, sft)
    # 4 times fewer is closer than 5 times more.
    assert (match.variant, match.reference, match.matched) == ("g2", "s1", False)
    assert at_matched_budget(grpo, [_variant("s", 0.6)]) is None
    # Ten percent either way, and no more.
    for flops, matched in ((110.0, True), (111.0, False), (91.0, True), (90.0, False)):
        assert at_matched_budget([_variant("g", 0.6, flops)], sft[:1]).matched is matched


def test_budget_counts_every_stage_and_the_filter():
    (run,) = make_results(("rif_grpo",), items=10, sequence=ORDER, general=()).runs
    assert training_flops([run], 3) is None
    spent = replace(run, totals=[{"flops": 10.0}, {"flops": 20.0}, {"flops": 30.0}], filters=[None] * 3)
    assert training_flops([spent], 3) == 60
    twice = replace(spent, totals=[{"flops": 20.0}] * 3, filters=[{"flops": 5.0}, None, None])
    assert training_flops([spent, twice], 3) == (60 + 65) / 2
    assert training_flops([replace(spent, totals=spent.totals[:2])], 3) is None
    assert training_flops([replace(spent, filters=[{"kept": 3}] * 3)], 3) is None


def test_rollouts_are_matched_where_both_sides_sample():
    """Those of filters count: 2,048 to filter and 3,840 to learn from are as many as 5,888."""
    (run,) = make_results(("rif_grpo",), items=10, sequence=ORDER, general=()).runs
    filtered = replace(run, totals=[{"sampled": 3840}] * 3, filters=[{"completions": 2048}] * 3)
    assert rollouts([filtered], 3) == 3 * 5888
    rif = _variant("rif", 0.6, flops=74.0, rollouts=3 * 5888)
    grpo = [
        _variant("grpo iterations=30", 0.6, flops=70.0, rollouts=3 * 3840),
        _variant("grpo iterations=46", 0.6, flops=100.0, rollouts=3 * 5888),
    ]
    match = at_matched_budget([rif], grpo, "rollouts")
    assert (match.reference, match.ratio, match.matched) == ("grpo iterations=46", 1.0, True)
    assert at_matched_budget([rif], grpo).reference == "grpo iterations=30"  # by operations
    assert at_matched_budget([rif], [_variant("sft", 0.6, flops=50.0, rollouts=0)], "rollouts") is None


def _grid(items: int = 200, seeds: tuple[int, ...] = (0,)) -> Results:
    """SFT at two rates and GRPO at one; grpo and the second SFT learn alike."""
    results = make_results(
        ("sft", "rloo", "remax", "grpo"), seeds=seeds, items=items, sequence=("d", "e", "f")
    )
    named = {
        "sft": ("sft learning_rate=1e-4", "sft", {"learning_rate": 1e-4}, 5.0),
        "rloo": ("sft learning_rate=0.02", "sft", {"learning_rate": 0.02}, 10.0),
        "grpo": ("grpo learning_rate=2e-5", "grpo", {"learning_rate": 2e-5}, 10.5),
        "remax": ("remax", "", {}, 90.0),
    }
    runs = []
    for run in results.runs:
        name, family, axes, flops = named[run.method]
        objective = "sft" if family == "sft" else run.objective
        totals = [{"flops": flops}] * 3
        runs.append(replace(run, method=name, family=family, axes=axes, totals=totals, objective=objective))
    return replace(results, runs=tuple(runs))


@pytest.mark.usefixtures("undrawn")
def test_the_table_and_its_sentences(tmp_path):
    html = build(_grid(), tmp_path).read_text(encoding="utf-8")
    table = json.loads((tmp_path / "tables/matched.json").read_text())
    rows = {(row["basis"], row["setting"]): row for row in table["rows"]}
    budget = rows["budget", "grpo learning_rate=2e-5"]
    assert (budget["against"], budget["operations"]) == ("sft learning_rate=0.02", 1.05)
    assert rows["budget: not matched, closest", "remax"]["operations"] == 9
    assert ">1.05<" in html
    assert {"value", "low", "high", "p", "effect", "shown"} == set(budget["fm"])
    assert "p" not in budget["plasticity"]
    assert "itself a selection" in table["note"] and "neither has a partner that is closer" in table["note"]
    assert '<th scope="col" title="floating-point operations, of the reference' in html  # numbers, not text
    assert "At matched gain and budget" in html
    assert "within 10 % of sft&#39;s operations for remax (9.00\u00a0×)" in html
    assert "itself a selection" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_sentences_follow_the_test():
    analysis = analyse(_grid())
    rows = matched_rows(analysis)
    for row in rows:
        if not (row.match and row.match.matched):
            continue
        topic = f"At matched {row.basis}"
        said = next(finding.text for finding in matched_findings(rows) if finding.topic == topic)
        gap = row.comparison.differences["fm"]
        shown = (
            f"{row.family} forgets {'less' if gap.value > 0 else 'more'} than sft at matched {row.basis}: "
        )
        hidden = f"No difference in forgetting shown between {row.family} and sft at matched {row.basis}: "
        assert (shown in said, hidden in said) == (gap.shown, not gap.shown)
    (grpo,) = [row for row in rows if row.family == "grpo" and row.basis == "budget"]
    gaps = {**grpo.comparison.differences}
    gaps["fm"] = replace(gaps["fm"], value=0.031, low=0.012, high=0.049, p=0.003)
    (found,) = matched_findings([replace(grpo, comparison=replace(grpo.comparison, differences=gaps))])
    assert found.text.replace("\u00a0", " ").startswith(
        "grpo forgets less than sft at matched budget: +3.1 points FM [+1.2, +4.9], p = 0.003 "
        "(grpo learning_rate=2e-5 against sft learning_rate=0.02; 1.05 × the operations, plasticity "
    )
    assert found.text.endswith("; one seed).")
    gaps["fm"] = replace(gaps["fm"], p=0.06)
    (found,) = matched_findings([replace(grpo, comparison=replace(grpo.comparison, differences=gaps))])
    assert found.text.startswith("No difference in forgetting shown between grpo and sft at matched budget: ")


def test_families_that_did_not_learn_alike_are_said_so():
    results = make_results(("sft", "grpo"), items=2000, sequence=("d", "e", "f"), general=())
    rows = matched_rows(analyse(results))
    assert [(row.basis, row.match) for row in rows] == [("gain", None), ("budget", None)]
    (found,) = matched_findings(rows)
    assert found.text.startswith("No pair of settings is matched for grpo against sft: every interval of the")
    (row,) = matched_table(rows).rows
    assert (row["basis"], row["setting"], row["against"]) == ("gain: no pair", "grpo", "sft")


def test_roll_outs_stand_in_where_operations_differ():
    """A filter's sampling costs less than learning: as many roll-outs are fewer operations."""
    runs = []
    for run in _grid().runs:
        sampled = {"remax": 12.0, "grpo learning_rate=2e-5": 12.0}.get(run.method, 0.0)
        flops = 40.0 if run.method == "grpo learning_rate=2e-5" else 90.0
        runs.append(replace(run, totals=[{"flops": flops, "sampled": sampled}] * 3))
    results = replace(_grid(), runs=tuple(runs), settings={**_grid().settings, "reference": "remax"})
    found = [row for row in matched_rows(analyse(results)) if row.reference == "remax"]
    rows = {(row.family, row.basis): row for row in found}
    assert rows["grpo", "roll-outs"].match.matched and ("grpo", "budget") not in rows
    assert rows["sft", "budget"].match.matched  # in operations, so roll-outs are not asked
    said = {finding.topic: finding.text for finding in matched_findings(list(rows.values()))}
    assert (
        "grpo" in said["At matched roll-outs"] and "1.00\u00a0× the roll-outs" in said["At matched roll-outs"]
    )


def test_two_families_meet_once_whichever_is_the_reference():
    results = _grid()
    for reference in ("sft learning_rate=0.02", "grpo learning_rate=2e-5"):
        named = replace(results, settings={**results.settings, "reference": reference})
        rows = [row for row in matched_rows(analyse(named)) if row.basis == "gain"]
        met = [frozenset((row.family, row.reference)) for row in rows]
        assert len(met) == len(set(met)) and frozenset(("sft", "grpo")) in met


def test_many_families_are_told_in_one_sentence():
    rows = [row for row in matched_rows(analyse(_grid())) if row.match and row.basis == "budget"]
    row = replace(rows[0], match=replace(rows[0].match, matched=True))
    gaps = {**row.comparison.differences}
    shown = replace(gaps["fm"], value=0.03, low=0.01, high=0.05, p=0.01)
    better = replace(
        row, family="best", comparison=replace(row.comparison, differences={**gaps, "fm": shown})
    )
    none = replace(gaps["fm"], value=0.0, low=-0.01, high=0.01, p=1.0)
    others = [
        replace(row, family=f"f{n}", comparison=replace(row.comparison, differences={**gaps, "fm": none}))
        for n in range(5)
    ]
    (found,) = matched_findings([better, *others])
    assert found.text == (
        "Compared with sft at matched budget: less forgetting with best; "
        "no difference in forgetting shown for f0, f1, f2, f3 and f4."
    )


def test_families_without_a_common_order_are_not_paired():
    results = make_results(("sft", "grpo"), items=50, sequence=("d", "e", "f"), general=())
    turned = [replace(run, order=("f", "e", "d")) if run.method == "grpo" else run for run in results.runs]
    assert matched_rows(analyse(replace(results, runs=tuple(turned)))) == []


def test_one_family_has_nothing_to_match():
    assert matched_rows(analyse(make_results(("sft", "joint_sft"), items=20))) == []
    assert matched_table([]).rows == []
    assert matched_findings([]) == []
