"""Methods made by a grid: their order along axes, tables, colours and figures."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from holdfast.analysis.axes import axes_of, series_along, shown
from holdfast.analysis.views import Analysis, analyse
from holdfast.errors import InputError
from holdfast.experiment.export import find_chain
from holdfast.report.page import build
from holdfast.report.sections.settings import axis_figure, axis_table, pareto_figure, section
from holdfast.report.sections.training import training_curves, training_lines
from holdfast.report.style import looks_of
from holdfast.report.table import Table
from measured_results import make_grid
from results_helpers import SHORT, make_results


def grid(**more) -> Analysis:
    settings = {"ladder": (8e-4, 1e-4, 2e-4), "items": 30, "sequence": SHORT, "general": ("facts",)}
    return analyse(make_grid(**(settings | more)))


def test_an_axis_is_ordered_whatever_the_order_of_the_file():
    analysis = grid(kl=(0.1, 0.0))
    rate, kl = axes_of(analysis.methods)
    assert (rate.name, rate.values, rate.logarithmic) == ("learning_rate", (1e-4, 2e-4, 8e-4), True)
    assert (kl.name, kl.values, kl.logarithmic) == ("kl_coef", (0.0, 0.1), False)  # 0 has no logarithm
    assert [kl.position(value) for value in kl.values] == [0, 1]


def test_frames_have_a_column_for_each_axis():
    results = make_grid(ladder=(1e-4, 2e-4), items=5, sequence=SHORT, general=(), kl=(0.0, 0.1))
    frame = results.metrics()
    assert list(frame.columns)[:4] == ["method", "seed", "learning_rate", "kl_coef"]
    assert {1e-4, 2e-4} <= set(frame["learning_rate"]) and len(frame) == len(results.runs)
    assert len(repr(results)) < 1000  # in a notebook


def test_a_grids_name_alone_is_none_of_its_methods():
    chains = [SimpleNamespace(method=name, seed=0) for name in ("sft", "sft_ewc a=1", "sft_ewc a=2")]
    with pytest.raises(
        InputError, match="Of sft_ewc there are several; say which: 'sft_ewc a=1', 'sft_ewc a=2'"
    ):
        find_chain(SimpleNamespace(chains=chains), "sft_ewc", None)


def test_series_differ_along_their_axis_alone():
    analysis = grid(kl=(0.0, 0.1))
    rate, kl = axes_of(analysis.methods)
    along = series_along(rate, analysis.methods)
    assert [series.name for series in along] == ["sft", "grpo, kl_coef 0", "grpo, kl_coef 0.1"]
    assert [method.axes["learning_rate"] for method in along[1].methods] == [1e-4, 2e-4, 8e-4]
    assert [series.name for series in series_along(kl, analysis.methods)] == [
        f"grpo, learning_rate {rate}" for rate in ("8e-4", "1e-4", "2e-4")
    ]


def test_the_table_holds_the_measures_in_order():
    analysis = grid()
    table = axis_table(analysis, axes_of(analysis.methods)[0])
    assert [(row["family"], row["setting_learning_rate"]) for row in table.rows] == [
        (family, rate) for family in ("sft", "grpo") for rate in ("1e-4", "2e-4", "8e-4")
    ]
    assert table.classes == {3: "next"}  # a rule between families
    for row in table.rows:
        assert row["fm"] == analysis.by_name[row["method"]].metric("fm")
        assert row["general"].low <= row["general"].value <= row["general"].high


def test_values_of_any_kind_are_told_apart():
    results = make_grid(ladder=(1e-4, 2e-4), items=20, sequence=SHORT, general=())
    values = [["diagrams", "reading"], ["reading", "diagrams"]]
    axes = [{"order": values[index // 2], "chain": bool(index % 2)} for index in range(4)]
    runs = [replace(run, family="x", axes=one) for run, one in zip(results.runs, axes, strict=True)]
    analysis = analyse(replace(results, runs=tuple(runs)))
    order, chain = axes_of(analysis.methods)
    assert order.values == (("diagrams", "reading"), ("reading", "diagrams"))
    assert not order.ordered and not chain.ordered
    assert len(series_along(order, analysis.methods)) == 2
    names = [part.name for part in section(analysis).parts]
    assert names == ["along_order", "along_chain", "pareto", "along_order", "along_chain"]
    for axis in (order, chain):
        assert len(axis_figure(axis, analysis, looks_of(analysis.methods)).axes) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0001, "1e-4"),
        (0.00025, "2.5e-4"),
        (0.01, "0.01"),
        (0.0, "0"),
        (8, "8"),
        (True, "on"),
        (None, "none"),
    ],
)
def test_settings_as_text(value, text):
    assert shown(value) == text
    assert len(shown("x" * 80)) <= 24


def test_the_curves_are_where_the_measures_are():
    analysis = grid()
    figure = axis_figure(axes_of(analysis.methods)[0], analysis, looks_of(analysis.methods))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["AvgAcc, %", "FM, points", "Plasticity, %", "General, points"]
    fm = figure.axes[1]
    assert fm.get_xscale() == "log"
    sft = fm.lines[0]
    assert sft.get_xdata().tolist() == [1e-4, 2e-4, 8e-4]
    expected = [100 * analysis.by_name[f"sft-lr{rate:g}"].metric("fm").value for rate in (1e-4, 2e-4, 8e-4)]
    assert sft.get_ydata() == pytest.approx(expected)


def test_pareto_curves_follow_the_setting_and_markers_tell_its_value():
    analysis = grid()
    figure = pareto_figure(analysis, looks_of(analysis.methods))
    (drawing,) = (part for part in section(analysis).parts if part.name == "pareto")
    assert "in their own order" in drawing.caption
    for axes in figure.axes:
        sft, grpo = (line for line in axes.lines if len(line.get_xdata()) == 3)
        for line, family in ((sft, "sft"), (grpo, "grpo")):
            members = [analysis.by_name[f"{family}-lr{rate:g}"] for rate in (1e-4, 2e-4, 8e-4)]
            expected = [100 * member.metric("learned").value for member in members]
            assert line.get_xdata() == pytest.approx(expected)
    (legend,) = figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["sft", "grpo", "learning_rate 1e-4", "learning_rate 2e-4", "learning_rate 8e-4"]
    assert not figure.axes[0].texts  # what markers tell is not written beside them


def test_values_are_written_where_markers_cannot_tell_them():
    results = make_grid(ladder=(1e-4, 2e-4), items=20, sequence=SHORT, general=())
    changed = [
        replace(run, axes={"group_size": {1e-4: 4, 2e-4: 8}[run.axes["learning_rate"]]})
        if run.family == "grpo"
        else run
        for run in results.runs
    ]
    analysis = analyse(replace(results, runs=tuple(changed)))
    figure = pareto_figure(analysis, looks_of(analysis.methods))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sft", "grpo"]
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1e-4", "2e-4", "4", "8"]


def test_categories_are_not_connected():
    results = make_grid(ladder=(1e-4, 2e-4), items=20, sequence=SHORT, general=())
    kinds = ("none", "random_matched", "rif", "rif_strict")
    runs = [
        replace(run, family="grpo", axes={"filter": kind})
        for run, kind in zip(results.runs, kinds, strict=True)
    ]
    analysis = analyse(replace(results, runs=tuple(runs)))
    (axis,) = axes_of(analysis.methods)
    assert axis.values == kinds and not axis.ordered
    looks = looks_of(analysis.methods)
    for figure in (axis_figure(axis, analysis, looks), pareto_figure(analysis, looks)):
        for axes in figure.axes:
            lines = [line for line in axes.lines if line.get_linestyle() != "None"]
            assert all(len(line.get_xdata()) < 4 for line in lines)
        figure.canvas.draw()
        ends = [text.get_window_extent() for axes in figure.axes for text in axes.get_xticklabels()]
        assert min(box.y0 for box in ends) >= 0  # long names stay within the figure


def test_without_a_grid_there_is_nothing():
    analysis = analyse(make_results(items=20, sequence=SHORT, general=()))
    looks = looks_of(analysis.methods)
    assert axes_of(analysis.methods) == [] and pareto_figure(analysis, looks) is None
    assert not any(isinstance(part, Table) for part in section(analysis).parts)
    assert [method.family for method in analysis.methods] == ["sft", "grpo"]


def test_an_axis_on_which_nothing_varies_is_none():
    assert axes_of(grid(ladder=(1e-4,)).methods) == []


def test_colours_stand_for_families():
    one = grid().methods[0]
    names = [(f"{family}{index}", family) for index in range(5) for family in ("sft", "grpo", "rloo")]
    found = looks_of([replace(one, name=name, family=family) for name, family in names])
    assert len({look.colour for look in found.values()}) == 15
    for family, channel in (("sft", 0), ("grpo", 2)):  # red and blue
        for index in range(5):
            colour = found[f"{family}{index}"].colour
            parts = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
            assert max(parts) == parts[channel]


@pytest.mark.slow
@pytest.mark.usefixtures("unsaved")
def test_the_page_of_a_large_grid(tmp_path):
    results = make_grid(
        ladder=(1e-4, 2e-4, 8e-4),
        kl=(0.0, 0.01, 0.1),
        items=10,
        sequence=SHORT,
        general=("facts",),
    )
    page = build(results, tmp_path).read_text(encoding="utf-8")
    assert 'id="settings"' in page and 'id="drift"' not in page and 'id="why"' not in page
    assert page.count("Made again by <code>holdfast report runs/made-up</code>") == page.count("<figure>")
    rows = list(csv.DictReader((tmp_path / "tables/along_learning_rate.csv").open(encoding="utf-8")))
    assert len(rows) == 12 and {"fm", "fm_low", "fm_high", "setting_kl_coef"} <= set(rows[0])
    assert len(json.loads((tmp_path / "tables/along_kl_coef.json").read_text())["rows"]) == 9
    analysis = analyse(results)
    (legend,) = training_curves(analysis, looks_of(analysis.methods)).legends
    named = {text.get_text() for text in legend.get_texts()}
    assert named.isdisjoint(analysis.by_name) and named  # 12 entries would cover the panels
    assert "holdfast report runs/made-up" in (tmp_path / "report.md").read_text()


def test_a_method_without_a_penalty_has_no_curve_of_its_kl():
    """Its rows hold 0 where nothing was compared; beside penalised ones it seemed to be the closest."""
    results = make_grid(ladder=(1e-4,), kl=(0.0, 0.1), items=10, sequence=SHORT, general=())
    runs = [
        replace(run, curves=[[row | {"kl": 0.0} for row in rows] for rows in run.curves])
        if run.axes.get("kl_coef") == 0
        else run
        for run in results.runs
    ]
    analysis = analyse(replace(results, runs=tuple(runs)))
    held = {method.axes["kl_coef"] for method, *_ in training_lines(analysis, "kl")}
    assert held == {0.1} and len(training_lines(analysis, "reward")) > len(held)


@pytest.mark.usefixtures("unsaved")
def test_an_unfinished_grid(tmp_path):
    results = make_grid(ladder=(1e-4, 2e-4), items=10, sequence=SHORT, general=(), stages_done=1)
    build(results, tmp_path)
    last = json.loads((tmp_path / "tables/along_learning_rate.json").read_text())["rows"][-1]
    assert last["fm"]["value"] is None and last["seeds"] == "0 of 1"
    assert not math.isnan(analyse(results).by_name["sft-lr0.0001"].metric("fm").value)
