"""A section from outside joins the report, and every place rounds alike."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from holdfast.analysis.bootstrap import Estimate, estimate
from holdfast.analysis.metrics import resolvable_difference
from holdfast.analysis.views import analyse
from holdfast.cli import console
from holdfast.cli.report import MOST_FINDINGS, show_report
from holdfast.report.page import FINDINGS, build
from holdfast.report.panels import fit, panels
from holdfast.report.section import Drawing, Finding, Section, Terms
from holdfast.report.sections import SECTIONS, learned
from holdfast.report.sections.differences import findings
from holdfast.report.sections.setup import section, setup
from holdfast.report.table import Column, Table, digits, interval, number, p_value, rounded, signed, to_json
from holdfast.report.templating import environment
from results_helpers import SHORT, make_results

MADE = ("Versions", "Machine", "Threads of a job", "Commit of the base model", "Made")


def longest(analysis) -> Section:
    """A section of one's own: the longest response of each method."""
    rows = [
        {
            "method": method.label,
            "tokens": float(max(record["tokens"] for record in method.runs[0].cells[1, "a"])),
        }
        for method in analysis.methods
    ]

    def draw(analysis, looks):
        figure, (axes,) = panels(1, 1)
        axes.bar([row["method"] for row in rows], [row["tokens"] for row in rows])
        return fit(figure, 2.0)

    columns = [Column("method", "Method"), Column("tokens", "Tokens", "count")]
    return Section(
        "longest",
        "The longest responses",
        "Longest",
        [
            Table("longest", "Longest by method", columns, rows, "Of `a`."),
            Drawing("longest_bars", "Longest as bars", "Bars.", draw),
            Drawing("nothing", "Not here", "Nor this.", lambda analysis, looks: None),
            Terms([("Longest", "the most tokens < all others")], "What it means"),
        ],
        findings=[Finding("Length", "Nobody rambles.")],
        cautions=["Length is no quality."],
    )


@pytest.mark.slow
@pytest.mark.usefixtures("printed")
def test_a_section_from_outside_stands_everywhere(tmp_path):
    results = make_results(items=10, sequence=("a", "b"), general=())
    html = build(results, tmp_path, [*SECTIONS[:2], longest]).read_text(encoding="utf-8")
    assert '<a href="#longest">Longest</a>' in html and '<section id="longest">' in html
    assert "<h3>Longest by method</h3>" in html and "Of <code>a</code>." in html
    assert 'aria-label="Longest as bars"' in html and "Not here" not in html
    assert "<dd>the most tokens &lt; all others</dd>" in html
    assert "<dt>Length</dt><dd>Nobody rambles.</dd>" in html and "<li>Length is no quality.</li>" in html
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## The longest responses" in text and "| sft | 12 |" in text
    assert "![Longest as bars](figures/longest_bars.png)" in text and "**Length.** Nobody rambles." in text
    rows = list(csv.DictReader((tmp_path / "tables/longest.csv").open(encoding="utf-8")))
    assert rows == [{"method": "sft", "tokens": "12.0"}, {"method": "grpo", "tokens": "12.0"}]
    assert json.loads((tmp_path / "tables/longest.json").read_text())["title"] == "Longest by method"
    for end in ("png", "pdf"):
        assert (tmp_path / f"figures/longest_bars.{end}").is_file()
    assert not (tmp_path / "figures/nothing.png").exists()


def test_a_report_of_some_sections_has_those_alone(tmp_path):
    results = make_results(items=10, sequence=("a", "b"), general=())
    html = build(results, tmp_path, [longest]).read_text(encoding="utf-8")
    assert html.count("<section ") == 2  # the findings open every report
    written = sorted(path.name for path in (tmp_path / "tables").iterdir())
    assert written == ["longest.csv", "longest.json", "longest.tex"]


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (-0.1525, "change", "−15.3"),
        (-0.15250000000000002, "change", "−15.3"),
        (-0.15249999999999997, "change", "−15.3"),  # as the files hold it: -0.1525
        (0.80500, "points", "80.5"),
        (0.0004999, "change", "0.0"),
        (-0.0005, "change", "−0.1"),
        (2.5, "count", "3"),
        (1234567.5, "count", "1,234,568"),
        (0.125, "coefficient", "0.13"),
        (-0.004, "coefficient", "0.00"),
        (9.996, "digits", "10.0"),
        (0.0009996, "digits", "1.0e−3"),
        (-12.34, "digits", "−12.3"),
        (999.96e9, "flop", "1.0\u00a0TFLOP"),
        (999.94e9, "flop", "999.9\u00a0GFLOP"),
        (3.2e24, "flop", "3,200,000.0\u00a0EFLOP"),
        (float("inf"), "real", "–"),
    ],
)
def test_halves_go_away_from_zero(value, kind, shown):
    assert number(value, kind) == shown


def test_signs():
    assert (signed(0.05), signed(-0.05), signed(0.04), signed(-0.04)) == ("+0.1", "−0.1", "0.0", "0.0")
    assert (rounded(80.5), rounded(85.5), rounded(0.5, 0, times=3)) == ("81", "86", "2")
    assert [digits(value, 2) for value in (3.0, 0.2, 12.4, 5e-5)] == ["3.0", "0.20", "12", "5.0e−5"]
    assert rounded(-1.5e30, 1, times=100) == f"−150{',000' * 10}.0"


def test_a_number_does_not_contradict_what_is_called_shown():
    """`[+0.0, …]` leaves zero out, and 0.0504 is above 0.05."""
    assert interval(Estimate(0.03, 0.0002, 0.06), "change") == "[+0.0,\u00a0+6.0]"
    assert interval(Estimate(-0.03, -0.06, -0.0002), "change") == "[−6.0,\u00a0−0.0]"
    assert interval(Estimate(-0.03, -0.06, 0.0), "change") == "[−6.0,\u00a00.0]"
    assert [p_value(p) for p in (0.05, 0.0504, 0.0506, 0.0496)] == [
        "p = 0.050", "p = 0.0504", "p = 0.051", "p = 0.050"
    ]  # fmt: skip


def test_what_rounding_leaves_of_zero_is_no_difference():
    assert not estimate(np.array([0.1, *[4e-17] * 30, *[0.2] * 900])).shown


def test_the_terminal_shows_what_the_page_shows():
    """It reads the table's JSON; page and Markdown the numbers themselves."""
    value = Estimate(-0.15249999999999997, -0.20350000000000001, -0.10049999999999998)
    table = Table("t", "T", [Column("fm", "FM", "change")], [{"fm": value}])
    with console.out.capture() as said:
        console.show_table(json.loads(json.dumps(to_json(table))))
    assert number(value, "change") == "−15.3" and "−15.3" in said.get()
    assert "[−20.4,\u00a0−10.1]" in said.get()


def test_what_results_were_made_with_is_told_as_far_as_they_say() -> None:
    whole = {
        "machine": "a",
        "device": "cpu",
        "threads": 1,
        "date": "2026-01-02T03",
        "versions": {"torch": "2"},
    }
    odd = [{}, {"machine": None, "threads": []}, {"versions": [1]}, {"versions": {}, "date": 7, "commit": ""}]
    for made, expected in (
        (
            [whole, *odd],
            {
                "Versions": "torch 2",
                "Machine": "a, cpu",
                "Threads of a job": "1",
                "Made": "2026-01-02 to 7",
            },
        ),
        (odd[:3], {}),
        ([], {}),
    ):
        facts = dict(setup(analyse(replace(make_results(("sft",), items=4), made=tuple(made)))))
        assert {name: facts[name] for name in MADE if name in facts} == expected


def test_scorers_of_own_data_and_a_reward_in_parts_are_told() -> None:
    results = make_results(("sft", "grpo", "remax"), items=4)
    parts = {"accuracy": 0.9, "/home/me/rules.py:brevity": 0.1}

    def facts(**rewards: object) -> dict[str, str]:
        methods = {"sft": {}} | {name: {"reward": reward} for name, reward in rewards.items()}
        tasks = {
            "bills": {"scorer": "/home/me/rules.py:score"},
            "mills": {"scorer": "exact"},
            "own": "t.py:T",
        }
        settings = {**results.settings, "methods": methods, "tasks": tasks}
        return dict(setup(analyse(replace(results, settings=settings))))

    assert facts(grpo=parts, remax=parts)["Reward"] == "0.9 · accuracy + 0.1 · rules.py:brevity"
    assert facts()["Scorers"] == "bills: rules.py:score, mills: exact"
    assert "Reward" not in facts(grpo=parts, remax=None) and "Reward" not in facts(grpo=None, remax=None)
    assert "Scorers" not in dict(setup(analyse(results)))


def test_a_base_model_that_changed_on_the_hub_is_told() -> None:
    def cautions(*commits: str) -> list[str]:
        made = tuple({"commit": commit} if commit else {} for commit in commits)
        return list(section(analyse(replace(make_results(("sft",), items=4), made=made))).cautions)

    assert not cautions("", "a1b2", "a1b2") and not cautions()
    (said,) = cautions("c3d4", "a1b2", "", "c3d4")
    assert said.startswith("Results are of 2 commits of the base model (a1b2, c3d4)")
    assert "Set model.revision" in said


@pytest.mark.slow
def test_no_table_or_figure_of_the_report_before_is_left(tmp_path):
    """Whoever takes all that lies there would take those of other settings; what is not ours stays."""
    build(make_results(("sft", "grpo"), items=8, sequence=SHORT), tmp_path / "report", pictures=0)
    (tmp_path / "report" / "tables" / "mine.csv").write_text("a")
    left = make_results(("sft",), items=8, sequence=SHORT, general=())
    for folder in ("report", "clean"):
        build(left, tmp_path / folder, pictures=0)
    names = [{str(one.relative_to(tmp_path / folder)) for one in (tmp_path / folder).rglob("*")}
             for folder in ("report", "clean")]  # fmt: skip
    assert names[0] - names[1] == {"tables/mine.csv"} and not names[1] - names[0]


@pytest.mark.slow
@pytest.mark.usefixtures("unsaved")
def test_the_terminal_says_what_the_report_finds(tmp_path):
    results = make_results(("sft", "grpo"), seeds=(0, 1, 2), items=40)
    build(results, tmp_path / "report", pictures=0)
    found = json.loads((tmp_path / "report" / FINDINGS).read_text())
    assert found[0]["topic"] == "Forgetting" and "grpo" in found[0]["text"]
    with console.out.capture() as said:
        show_report(tmp_path / "report" / "index.html")
    words = " ".join(said.get().split())
    assert words.index("AvgAcc") < words.index("Forgetting: ")
    assert all(" ".join(f"{one['topic']}: {one['text']}".split()) in words for one in found)
    many = [{"topic": "Forgetting", "text": f"Number {n}."} for n in range(MOST_FINDINGS + 3)]
    (tmp_path / "report" / FINDINGS).write_text(json.dumps(many))
    with console.out.capture() as said:
        show_report(tmp_path / "report" / "index.html")
    assert f"Number {MOST_FINDINGS}." not in said.get() and "says 3 things more" in said.get()


def test_in_a_narrow_terminal_no_two_names_are_cut_to_the_same(monkeypatch):
    names = [f"sft retention.strength={strength}" for strength in (100, 3000)]
    columns = [Column("method", "Method"), *(Column(f"m{index}", "Measure", "change") for index in range(7))]
    value = Estimate(0.1, -1.0, 1.0)
    rows = [{"method": name} | {column.key: value for column in columns[1:]} for name in names]
    monkeypatch.setattr(console.out, "width", 80)
    with console.out.capture() as said:
        console.show_table(to_json(Table("t", "T", columns, rows)))
    assert "…" not in said.get()
    first = "".join(line.split("  ")[0].strip() for line in said.get().splitlines()[3:])
    assert all(name.replace(" ", "") in first.replace(" ", "") for name in names)


def test_a_terminal_that_has_room_for_each_word_breaks_none(monkeypatch):
    columns = [
        Column("method", "Method"),
        *(Column(f"m{index}", "Plasticity", "change") for index in range(6)),
    ]
    names = ["sft order=backwards", "grpo order=none"]
    rows = [{"method": name} | {c.key: Estimate(0.1, -1.0, 1.0) for c in columns[1:]} for name in names]
    monkeypatch.setattr(console.out, "width", 100)
    with console.out.capture() as said:
        console.show_table(to_json(Table("t", "T", columns, rows)))
    assert all(name in said.get() for name in names) and said.get().count("[−100.0,") == 12
    assert max(map(len, said.get().splitlines())) <= 100


def test_in_a_narrow_terminal_intervals_stand_below_their_values(monkeypatch):
    measures = [Column(f"m{index}", "Plasticity", "change") for index in range(4)]
    columns = [Column("method", "Method"), *measures]
    value = Estimate(0.1, -0.25, 0.5)
    rows = [{"method": "sft"} | {column.key: value for column in columns[1:]}]
    said = {}
    for width in (120, 80):
        monkeypatch.setattr(console.out, "width", width)
        with console.out.capture() as captured:
            console.show_table(to_json(Table("t", "T", columns, rows)))
        said[width] = [line.split() for line in captured.get().splitlines() if line.strip()]
    interval = ["[−25.0,", "+50.0]"]
    assert said[120][2] == ["sft", *["+10.0", *interval] * 4]
    assert said[80][2:4] == [["sft", *["+10.0"] * 4], interval * 4]


def test_training_that_moved_no_answer_is_said():
    results = make_results(items=20, sequence=SHORT)
    assert not learned.section(analyse(results)).findings
    (sft, grpo) = results.runs
    as_base = {(stage, task): sft.cells[0, task] for stage, task in sft.cells}
    analysis = analyse(replace(results, runs=(replace(sft, cells=as_base), grpo)))
    (finding,) = learned.section(analysis).findings
    assert finding.topic == "Nothing moved"
    assert finding.text.startswith("sft scores every test item as the base does, after every stage")
    early = {
        cell: rows for cell, rows in as_base.items() if cell[0] < len(SHORT)
    }  # what failed may have moved yet
    analysis = analyse(replace(results, runs=(replace(sft, cells=early), grpo)))
    assert "Nothing moved" not in {finding.topic for finding in learned.section(analysis).findings}


def test_a_method_that_had_nothing_to_forget_is_named():
    """Its FM of 0 is no sign of keeping."""
    results = make_results(items=100, sequence=SHORT)
    assert "Little to forget" not in {finding.topic for finding in findings(analyse(results))}
    (sft, grpo) = results.runs
    wrong = {
        cell: [record | {"score": 0.0} for record in rows] if cell[1] in SHORT[:-1] else rows
        for cell, rows in grpo.cells.items()
    }
    analysis = analyse(replace(results, runs=(sft, replace(grpo, cells=wrong))))
    said = {finding.topic: finding.text for finding in findings(analysis)}
    resolves = resolvable_difference(100 * (len(SHORT) - 1), paired=True)
    assert "in %: grpo (0.0). " in said["Little to forget"]
    assert f"less than the {100 * resolves:.1f} points" in said["Little to forget"]


def test_no_line_of_a_table_ends_within_a_number():
    written = environment().filters["unbroken"]("sft <b> learning_rate=1.5e-4")
    assert str(written) == 'sft &lt;b&gt; learning_rate=<span class="unbroken">1.5e-4</span>'
    assert str(environment().filters["unbroken"]("one-two")) == "one-two"


@pytest.mark.slow
def test_names_of_tasks_that_look_like_columns_keep_their_numbers(tmp_path):
    """`facts_change` is a benchmark, not the change of `facts`; `reading_low` no end of an interval."""
    results = make_results(
        ("sft",), items=20, sequence=("reading", "reading_low"), general=("facts", "facts_change")
    )
    build(results, tmp_path)
    analysis = analyse(results)
    (method,) = analysis.methods
    (_, row) = csv.DictReader((tmp_path / "tables/general.csv").open(encoding="utf-8"))
    for index, task in enumerate(("facts", "facts_change"), start=2):
        assert float(row[task]) == pytest.approx(method.cell(-1, index).value)
    assert float(row["facts__change"]) == pytest.approx(method.change(2).value)
    assert float(row["facts_change_change"]) == pytest.approx(method.change(3).value)
    (*_, end) = csv.DictReader((tmp_path / "tables/per_task.csv").open(encoding="utf-8"))
    assert float(end["reading_low"]) == pytest.approx(method.cell(-1, 1).value)
    assert float(end["reading__low"]) == pytest.approx(method.cell(-1, 0).low)
