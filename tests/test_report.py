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

from chromium import browser, needs_chromium
from holdfast.analysis.bootstrap import Estimate
from holdfast.analysis.views import analyse
from holdfast.report.page import build
from holdfast.report.sections import SECTIONS, learned
from holdfast.report.sections.learned import cautions, headline
from holdfast.report.sections.responses import samples
from holdfast.report.sections.setup import methods_table
from holdfast.report.style import PAGE_PIXELS, WIDTH, inline_svg, looks_of
from holdfast.report.table import Column, Table, interval, number, signed, to_csv, to_json, to_markdown
from results_helpers import SHORT, make_results

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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.usefixtures("undrawn")
def test_tasks_that_all_methods_learn_at_once_are_said_so(tmp_path):
    results = make_results(("joint_sft",), items=10, sequence=SHORT)
    html = build(results, tmp_path).read_text(encoding="utf-8")
    assert "1 method, 3 tasks at once" in html and "one after another, 1 seed" not in html


def test_one_task_without_general_benchmarks_is_said_as_one(tmp_path):
    one = make_results(("sft",), items=10, sequence=SHORT[:1], general=())
    html = build(one, tmp_path).read_text(encoding="utf-8")
    assert "1 method, 1 task, 1 seed" in html
    assert "sft learned" in html and "Forgetting:" not in html and ">Forgetting<" not in html
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


def test_a_message_stands_in_the_markdown_as_it_is(tmp_path):
    """In one line, and no part of it is taken for HTML, which would be gone."""
    results = replace(
        make_results(("sft",), items=10, sequence=SHORT, general=(), stages_done=1),
        failed=("ValueError: expected\n# <class 'int'>, not 3 < 4",),
    )
    build(results, tmp_path, [learned.section])
    assert (
        "- Failed: ValueError: expected # \\<class 'int'>, not 3 < 4\n"
        in (tmp_path / "report.md").read_text()
    )
    assert "expected # &lt;class &#39;int&#39;&gt;" in (tmp_path / "index.html").read_text()


@needs_chromium
def test_on_paper_no_column_is_beyond_the_edge_and_it_is_day(study, tmp_path):
    with browser(tmp_path) as tab:
        night = [{"name": "prefers-color-scheme", "value": "dark"}]
        tab.size(720, 900)  # what is left of A4 and Letter between their margins
        tab.open(study.as_uri())
        tab.send("Emulation.setEmulatedMedia", media="print", features=night)
        boxes = "[...document.querySelectorAll('.scroll, .drawing')]"
        assert tab.ask(f"{boxes}.length") > 5
        assert tab.ask(f"{boxes}.filter((box) => box.scrollWidth > box.clientWidth + 1).length") == 0
        assert tab.ask("getComputedStyle(document.body).backgroundColor") == "rgb(251, 251, 249)"
