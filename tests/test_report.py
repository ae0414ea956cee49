"""The report: complete, honest about what is missing, and safe to open."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from holdfast.analysis.bootstrap import Estimate
from holdfast.analysis.comparisons import compare
from holdfast.analysis.families import matched_rows
from holdfast.analysis.paired import holm
from holdfast.analysis.permutation import Difference
from holdfast.analysis.views import analyse
from holdfast.report.page import build
from holdfast.report.sections import SECTIONS, learned
from holdfast.report.sections.differences import differences, findings
from holdfast.report.sections.learned import cautions, headline, origins
from holdfast.report.sections.responses import samples
from holdfast.report.sections.setup import methods_table, setup
from holdfast.report.style import PAGE_PIXELS, WIDTH, inline_svg, looks_of
from holdfast.report.table import Column, Table, interval, number, signed, to_csv, to_json, to_markdown
from results_helpers import METHODS, make_results

SHORT = ("diagrams", "reading", "photos")
FIGURES = {
    "accuracy_matrices",
    "task_curves",
    "learned_forgotten",
    "general_benchmarks",
    "turnover",
    "training_curves",
}


class Page(HTMLParser):
    """Tags that are open at the end, every tag seen, and ids."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[name] or "" for name in ("href", "src", "xlink:href") if name in values]
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    methods = ("sft", "grpo", "rif_grpo", "joint_sft")
    results = make_results(methods, seeds=(0, 1), items=40, sequence=SHORT, general_every_stage=False)
    return build(results, tmp_path_factory.mktemp("study"))


def test_everything_is_written(study):
    folder = study.parent
    for name in FIGURES | {"pass_rates"}:
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    for table in (
        "headline",
        "per_task",
        "general",
        "turnover",
        "budget",
        "matrices",
        "methods",
        "differences",
    ):
        rows = list(csv.DictReader((folder / "tables" / f"{table}.csv").open(encoding="utf-8")))
        assert len(rows) == len(json.loads((folder / "tables" / f"{table}.json").read_text())["rows"]) > 0
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "`config.yaml` in the run's folder" in text  # which this form of the report does not hold
    assert "| base model | cot |" in text
    assert "](figures/accuracy_matrices.png)" in text


def test_the_page_is_well_formed_self_contained_and_without_scripts(study):
    page = Page(study.read_text(encoding="utf-8"))
    assert page.open == []
    assert "script" not in page.tags
    assert len(page.ids) == len(set(page.ids))
    outside = [link for link in page.links if not link.startswith(("#", "figures/"))]
    assert set(outside) == {"gallery.html"}
    for link in page.links:
        assert link[1:] in page.ids if link.startswith("#") else (study.parent / link).is_file()


@pytest.mark.parametrize(
    ("output", "said", "sections", "figures"),
    [
        ("{here}/runs/b", "runs/b", [learned.section], 1),
        ("{here}/my runs/b", "'my runs/b'", [learned.section], 1),
        ("/elsewhere/b", "/elsewhere/b", [learned.section], 1),
        (None, "runs/made-up", SECTIONS, len(FIGURES)),
    ],
)
@pytest.mark.usefixtures("unsaved")
def test_every_figure_says_how_it_is_made_again(tmp_path, monkeypatch, output, said, sections, figures):
    monkeypatch.chdir(tmp_path)
    results = make_results(items=10, sequence=SHORT, general=("facts",))
    output = {} if output is None else {"output": output.format(here=tmp_path)}
    results = replace(results, settings=results.settings | output)
    html = build(results, tmp_path, sections).read_text(encoding="utf-8")
    command = f"Made again by <code>holdfast report {escape(said, quote=True)}</code>".replace(
        "&#x27;", "&#39;"
    )
    assert html.count(command) == html.count("<figure>") == figures
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.count(f"Made again by `holdfast report {said}`") == figures


@pytest.mark.usefixtures("unsaved")
def test_model_output_is_escaped(tmp_path):
    attack = "</pre><script>alert('x')</script><img src=x onerror=alert(1)> %s"
    results = make_results(items=10, sequence=("diagrams", "reading"), general=(), response=attack)
    settings = {**results.settings, "note": "<script>settings</script>"}
    html = build(replace(results, settings=settings, name="<b>bold</b>"), tmp_path).read_text(
        encoding="utf-8"
    )
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in html
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    page = Page(html)
    assert not page.tags & {"script", "img", "b" if "<b>bold" in html else "script"}
    assert "onerror=alert(1)&gt;" in html


def test_a_long_response_is_shown_with_its_end_where_the_answer_stands():
    found = samples(analyse(make_results(items=10, response="word " * 400 + "\\boxed{%s}")))
    texts = [
        one.text for some in found.values() for sample in some for _, said in sample.policies for one in said
    ]
    assert texts and all(
        len(text) < 650 and re.search(r"left out\) … .*\\boxed\{(3|three)\}$", text) for text in texts
    )


@pytest.mark.usefixtures("unsaved")
def test_a_running_experiment(tmp_path):
    results = make_results(("sft", "grpo"), items=20, sequence=SHORT, general=("facts",), stages_done=2)
    html = build(results, tmp_path).read_text(encoding="utf-8")
    assert "grpo is not finished (stages evaluated: seed 0: 2 of 3)" in html
    assert "run&#39; goes on from here" in html
    rows = {row["method"]: row for row in json.loads((tmp_path / "tables/headline.json").read_text())["rows"]}
    assert rows["grpo"]["avg_acc"] == {"value": None, "low": None, "high": None}
    assert rows["grpo"]["seeds"] == "0 of 1"
    assert rows["sft"]["avg_acc"]["value"] > 0.5
    last = json.loads((tmp_path / "tables/matrices.json").read_text())["rows"][-1]
    assert last["stage"] == 3
    assert last["diagrams"] is None


def test_methods_that_are_as_far_share_a_caution():
    results = make_results(("sft", "grpo"), items=20, sequence=SHORT, stages_done=2)
    twin = replace(results.runs[-1], method="twin")
    said = cautions(analyse(replace(results, runs=(*results.runs, twin))))
    assert said[0].startswith("grpo and twin are not finished (stages evaluated: seed 0: 2 of 3)")
    assert not any("goes on" in note for note in cautions(analyse(make_results(items=20, sequence=SHORT))))


@pytest.mark.usefixtures("unsaved")
def test_seeds_that_have_not_started_do_not_share_the_budget(tmp_path):
    results = make_results(("sft",), seeds=(0, 1), items=10, sequence=SHORT, general=(), stages_done=0)
    idle = replace(results.runs[1], totals=[{} for _ in SHORT])  # as they are collected
    build(replace(results, runs=(results.runs[0], idle)), tmp_path)
    (row,) = json.loads((tmp_path / "tables/budget.json").read_text())["rows"]
    assert row["examples"] == sum(total["examples"] for total in results.runs[0].totals)


@pytest.mark.parametrize("cells", ["none", "base"])
@pytest.mark.usefixtures("unsaved")
def test_an_experiment_that_has_just_started(tmp_path, cells):
    results = make_results(("sft", "joint_sft"), items=10, sequence=SHORT, general=("facts",), stages_done=0)
    runs = [
        replace(
            run,
            cells={c: r for c, r in run.cells.items() if cells == "base" and c[0] == 0},
            curves=[],
            totals=[],
        )
        for run in results.runs
    ]
    html = build(replace(results, runs=tuple(runs)), tmp_path).read_text(encoding="utf-8")
    assert "nothing can be said about forgetting yet" in html
    assert ("base model" in html) == (cells == "base")


def test_one_task_without_general_benchmarks_is_said_as_one(tmp_path):
    one = make_results(("sft",), items=10, sequence=SHORT[:1], general=())
    assert "1 method, 1 task, 1 seed" in build(one, tmp_path).read_text(encoding="utf-8")
    (note,) = (note for note in cautions(analyse(make_results(("sft",), items=1))) if "resolve" in note)
    assert note.startswith("1 test item per task resolves no difference between two methods on one task, and")
    assert "together 47.4 points in AvgAcc" in note and "independent items: none and 74.9" in note


@pytest.mark.usefixtures("undrawn")
def test_other_style_and_base_row_of_each_style(tmp_path):
    results = make_results(items=20, sequence=SHORT, general=("facts",), other_style=True)
    direct = replace(results.runs[1], style="direct")
    table = headline(analyse(replace(results, runs=(results.runs[0], direct))))
    assert [row["style"] for row in table.rows if row["method"] == "base model"] == ["cot", "direct"]
    html = build(results, tmp_path).read_text(encoding="utf-8")
    assert "judged under the other prompt style" in html
    assert (tmp_path / "tables/headline_other_style.csv").is_file()


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


@pytest.mark.usefixtures("undrawn")
def test_the_differences_table_has_interval_p_and_effect_size(tmp_path):
    build(make_results(("sft", "grpo", "remax"), items=100, sequence=SHORT, general=()), tmp_path)
    table = json.loads((tmp_path / "tables/differences.json").read_text())
    assert "One seed" in table["note"]
    assert [column["key"] for column in table["columns"]] == ["method", "avg_acc", "fm", "bwt", "plasticity"]
    cell, fm = table["rows"][0]["bwt"], table["rows"][0]["fm"]
    assert cell["low"] <= cell["value"] <= cell["high"]
    assert 8 / 2001 <= cell["p"] <= 1  # the least there can be, times the number of tests
    assert cell["shown"] == ((cell["low"] > 0 or cell["high"] < 0) and cell["p"] <= 0.05)
    assert cell["effect"] * cell["value"] > 0
    assert fm["effect"] is None
    header = (tmp_path / "tables/differences.csv").read_text().splitlines()[0].split(",")
    assert header[1:6] == ["avg_acc", "avg_acc_low", "avg_acc_high", "avg_acc_p", "avg_acc_effect"]
    assert "<small>p\u00a0=\u00a0" in (tmp_path / "index.html").read_text(encoding="utf-8")


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


def test_the_group_is_shown_of_methods_that_sample():
    results = make_results(("sft", "grpo", "rloo"), items=10, sequence=SHORT, general=())
    targets = {"sft": "answer", "grpo": "sampled", "rloo": "answer"}
    configured = {name: {"target": target, "group_size": 8} for name, target in targets.items()}
    runs = tuple(replace(run, objective="sft") if run.method == "grpo" else run for run in results.runs)
    settings = {**results.settings, "methods": configured}
    rows = methods_table(analyse(replace(results, runs=runs, settings=settings))).rows
    assert [(row["target"], row["group_size"]) for row in rows] == [
        ("answer", None), ("sampled", "8"), (None, "8"),
    ]  # fmt: skip


def test_settings_in_which_methods_differ_have_a_column():
    results = make_results(("sft", "grpo", "rloo"), items=10, sequence=SHORT, general=())
    same = {"iterations": 4, "clip_grad": 1.0, "retention": []}
    configured = {
        "sft": same | {"target": "answer", "resample_every": 1, "optimizer": "adamw"},
        "grpo": same | {"optimizer": "muon", "sampling": {"temperature": 1.0, "max_tokens": 32}},
        "rloo": same
        | {"resample_every": 5, "optimizer": "adamw", "sampling": {"temperature": 0.7, "max_tokens": 32}},
    }
    configured["grpo"]["retention"] = [{"kind": "er", "share": 0.125}, {"kind": "mine.py:Pull"}]
    settings = {**results.settings, "methods": configured}
    table = methods_table(analyse(replace(results, settings=settings)))
    keys = [column.key for column in table.columns]
    assert keys[-4:] == ["strategies", "resample_every", "optimizer", "sampling.temperature"]
    shown = [tuple(row.get(key) for key in keys[-4:]) for row in table.rows]
    assert shown == [
        (None, None, "adamw", None),
        ("er, Pull", None, "muon", "1"),
        (None, "5", "adamw", "0.7"),
    ]
    assert "clip_grad" not in keys  # all have the same


def test_a_reward_of_ones_own_is_a_difference_from_none():
    results = make_results(("grpo", "rloo"), items=10, sequence=SHORT, general=())
    parts = {"accuracy": 0.75, "/home/me/rules.py:brevity": 0.25}
    settings = {**results.settings, "methods": {"grpo": {"reward": None}, "rloo": {"reward": parts}}}
    table = methods_table(analyse(replace(results, settings=settings)))
    assert [column.key for column in table.columns][-2:] == ["reward.accuracy", "reward.brevity"]
    assert [row["reward.accuracy"] for row in table.rows] == [None, "0.75"]
    assert [row["reward.brevity"] for row in table.rows] == [None, "0.25"]


def test_numbers():
    assert (signed(1.25), signed(-3.14), signed(-0.04)) == ("+1.3", "−3.1", "0.0")
    assert number(0.5, "points") == "50.0"
    assert number(None, "points") == number(math.nan, "change") == "–"
    assert interval(Estimate(0.1, 0.05, 0.2), "change") == "[+5.0,\u00a0+20.0]"
    assert interval(Estimate(math.nan, math.nan, math.nan), "change") == ""


def test_table_forms():
    columns = [Column("method", "Method"), Column("fm", "FM", "change")]
    table = Table(
        "t", "T", columns, [{"method": "a|b", "fm": Estimate(-0.1, -0.2, 0.0)}, {"method": "c", "fm": None}]
    )
    assert "| a\\|b | −10.0\u00a0[−20.0,\u00a00.0] |" in to_markdown(table)
    assert to_csv(table).splitlines() == ["method,fm,fm_low,fm_high", "a|b,-0.1,-0.2,0.0", "c,,,"]
    assert to_json(table)["rows"][1]["fm"] is None


def test_looks_differ_and_svg_ids_are_its_own():
    (method,) = analyse(make_results(("sft",), items=10, sequence=SHORT, general=())).methods
    found = looks_of([replace(method, name=f"m{index}", family=f"m{index}") for index in range(12)])
    assert len({(look.colour, look.line) for look in found.values()}) == 12
    svg = inline_svg(
        '<?xml version="1.0"?><svg><metadata>x</metadata><g id="a" clip-path="url(#a)"/></svg>', "f"
    )
    assert svg == '<svg><g id="f-a" clip-path="url(#f-a)"/></svg>'
    assert not re.search("metadata|xml", svg)


def test_a_narrow_figure_is_shown_at_the_scale_of_a_wide_one(tmp_path):
    widths = [
        int(inline_svg(f'<svg width="{72 * inches}pt" height="9pt"/>', "f")[16:].partition("px")[0])
        for inches in (WIDTH, WIDTH / 4)
    ]
    assert widths == [PAGE_PIXELS, PAGE_PIXELS / 4]
