"""Figures hold with ordinary names: nothing is cut, nothing is written over anything else."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from functools import cache
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text

from holdfast.analysis.views import analyse
from holdfast.report.labels import name_points
from holdfast.report.panels import broken, fit, panels, points_on_x
from holdfast.report.section import Drawing
from holdfast.report.sections import SECTIONS
from holdfast.report.sections.general import general_figure
from holdfast.report.sections.tasks import matrix_figure, task_curves
from holdfast.report.style import RC, WIDTH, data_colours, inline_svg, looks_of, sized
from measured_results import make_grid, with_measures
from results_helpers import Profile, make_results

TASKS = ("superclevr_mathv360k", "handwriting_forms_2024", "counting", "medical_slides_vqa_x", "tissue")
GENERAL = ("mmlu_pro_multiple_ch", "pope_adversarial_set")
VARIANTS = ("plain", "sampled", "filtered", "rif", "kl", "std", "greedy", "long", "joint")
NINE: dict[str, Profile] = {
    f"{name}_variant_{index}": ("grpo" if index else "sft", index == 8, index == 3, 0.9, 0.01 * index, 0.01)
    for index, name in enumerate(VARIANTS)
}


def long_names():
    """Methods of a grid under the names that `grid` gives them, tasks of twenty characters."""
    results = make_grid(ladder=(2e-4, 1e-3), kl=(0.01, 0.1), items=12, sequence=TASKS, general=GENERAL)
    runs = [
        replace(
            run, method=f"{run.family} " + " ".join(f"{key}={value:g}" for key, value in run.axes.items())
        )
        for run in results.runs
    ]
    return with_measures(replace(results, runs=tuple(runs)))


def nine_methods():
    return make_results(tuple(NINE), items=12, profiles=NINE)


def texts_of(figure):
    """What is written beside the panels: titles, labels, ticks and legends, with their boxes."""
    inside = {text for axes in figure.axes for text in axes.texts}
    found = [text for text in figure.findobj(Text) if text.get_text().strip() and text not in inside]
    hidden = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks() + axis.get_minor_ticks()
        for label in (tick.label1, tick.label2)
        if not axes.get_visible() or not tick.get_visible() or not _within(axis, tick)
    }
    shown = [text for text in found if text.get_visible() and text not in hidden]
    return [(text, text.get_window_extent()) for text in shown]


def _within(axis, tick):
    low, high = sorted(axis.get_view_interval())
    return low <= tick.get_loc() <= high


@cache
def drawn(make):
    """What is analysed, and all that draws it."""
    analysis = analyse(make())
    return analysis, [part for make in SECTIONS for part in make(analysis).parts if isinstance(part, Drawing)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "wide", "points"),
    [
        *(
            (made, *size)
            for made in (long_names, nine_methods)
            for size in ((WIDTH, 9), (6.75, 8), (3.25, 8))
        ),
        (long_names, 3.25, 7),  # smaller text in the same room
    ],
)
def test_nothing_is_cut_and_nothing_lies_on_anything_else(make, wide, points):
    analysis, drawings = drawn(make)
    looks = looks_of(analysis.methods)
    with matplotlib.rc_context(sized(wide, points)):
        for drawing in drawings:
            if (figure := drawing.draw(analysis, looks)) is not None:
                holds(figure, wide, drawing.name)


def holds(figure, wide, name):
    """Fail where something is cut or lies on something else."""
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    assert figure.get_figwidth() <= (wide if wide < WIDTH else 1.3 * WIDTH) + 1e-6, name
    boxes = texts_of(figure)
    for text, box in boxes:
        said = (name, text.get_text())
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, said
    for (one, a), (other, b) in combinations(boxes, 2):
        if one.get_rotation() == other.get_rotation() == 35:
            continue  # side by side on a slant, where only the boxes meet
        across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 1 or up <= 1, (name, one.get_text(), other.get_text())


@pytest.mark.slow
@pytest.mark.parametrize(("wide", "points"), [(WIDTH, 9), (3.25, 8)])
def test_small_matrices_of_many_methods_hold(wide, points):
    """An arena: few tasks, and names longer than their matrix is wide."""
    strengths = ["30", "100", "300", "1000"]
    names = [
        f"{kind} retention.strength={one} order=none" for kind in ("ewc", "ewc_sum") for one in strengths
    ]
    (run,) = make_results(("grpo",), items=8, sequence=TASKS[2:], general=()).runs
    runs = tuple(replace(run, method=name) for name in names)
    results = make_results(("grpo",), items=8, sequence=TASKS[2:], general=())
    analysis = analyse(replace(results, runs=runs))
    with matplotlib.rc_context(sized(wide, points)), warnings.catch_warnings(action="error"):
        figure = matrix_figure(analysis, looks_of(analysis.methods))
        holds(figure, wide, "matrices")
    assert len({axes.bbox.x0 for axes in figure.axes}) == (4 if wide == WIDTH else 1)


@pytest.mark.parametrize("wide", [WIDTH, 3.25])
def test_names_of_points_lie_on_nothing(wide):
    """Of points that lie close together, and in a corner; one that is far from its point has a line to it."""
    places = [(x + 0.3 * y, y + 0.2 * x) for x in range(4) for y in range(5)] + [
        (12.0, 12.0),
        *[(2.0, 9.0)] * 10,
    ]
    names = [f"way {number}" for number in range(len(places))]
    with matplotlib.rc_context(sized(wide, 8)):
        figure, (axes,) = panels(1, 1)
        for place in places:
            axes.plot(*place, "o", markersize=6)
        fit(figure, 4)
        name_points(axes, names, places, [6.0] * len(places), ["red"] * len(places))
        figure.draw_without_rendering()
    texts = [text for text in axes.texts if text.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    assert sorted(text.get_text() for text in texts) == sorted(names)
    assert len(axes.texts) > len(names)  # lines
    for (one, a), (other, b) in combinations(zip(names, boxes, strict=True), 2):
        assert min(a.x1, b.x1) - max(a.x0, b.x0) <= 1 or min(a.y1, b.y1) - max(a.y0, b.y0) <= 2, (one, other)
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)


def test_a_curve_has_a_gap_where_a_stage_was_not_judged():
    results = make_results(("sft",), items=20, sequence=("a", "b", "c", "d"), general=())
    (run,) = results.runs
    judged = {
        cell: rows for cell, rows in run.cells.items() if cell[0] == 0 or "abcd".index(cell[1]) < cell[0]
    }
    analysis = analyse(replace(results, runs=(replace(run, cells=judged),)))
    with matplotlib.rc_context(RC):
        figure = task_curves(analysis, looks_of(analysis.methods))
    curve = next(line for line in figure.axes[2].lines if len(line.get_xdata()) == 5)  # of c
    assert np.isnan(curve.get_ydata()).tolist() == [False, True, True, False, False]
    assert curve.get_xdata().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("values", "ends"), [([0, 0], (-1, 1)), ([-0.3, 0.4], (-1, 1)), ([-4, 0.5], (-4, 0.5))]
)
def test_what_is_less_than_a_point_does_not_fill_an_axis_of_points(values, ends):
    _, (axes,) = panels(1, 1, 4)
    axes.margins(0)
    axes.plot(values, [0, 1])
    points_on_x(axes)
    assert axes.get_xlim() == ends


def test_no_accuracy_above_all_is_written():
    results = make_results(("sft",), items=12, sequence=TASKS[:2], general=("facts",))
    cells = {
        cell: [record | {"score": 1.0} for record in records]
        for cell, records in results.runs[0].cells.items()
    }
    analysis = analyse(replace(results, runs=(replace(results.runs[0], cells=cells),)))
    (panel,) = general_figure(analysis, looks_of(analysis.methods)).axes
    panel.figure.canvas.draw()
    written = [label.get_text() for label in panel.get_xticklabels()]
    assert "100" in written and all(float(text) <= 100 for text in written if text)


def test_every_colour_of_data_shows_on_a_dark_page():
    analysis = analyse(make_grid(ladder=(1e-4, 2e-4, 4e-4, 8e-4), items=10, sequence=("a", "b"), general=()))
    looks = looks_of(analysis.methods)

    def luminance(colour: str) -> float:  # WCAG 2
        parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    nights = data_colours(looks)
    for night in nights.values():
        assert (luminance(night) + 0.05) / (luminance("#1b2026") + 0.05) > 3
    shades = [nights[looks[method.name].colour] for method in analysis.methods if method.family == "sft"]
    assert sorted(shades, key=luminance, reverse=True) == shades and len(set(shades)) == 4
    colour = looks[analysis.methods[-1].name].colour
    svg = inline_svg(f'<svg><path style="fill: {colour}; stroke: #68707a" id="a"/></svg>', "f", nights)
    assert svg == f'<svg><path style="fill: var(--c{colour[1:]}); stroke: var(--muted)" id="f-a"/></svg>'


@pytest.mark.parametrize(
    ("text", "most", "lines"),
    [
        ("sft learning_rate=1e-3", 14, "sft learning_\nrate=1e-3"),
        ("superclevr_mathv360k (general)", 16, "superclevr_\nmathv360k\n(general)"),
        ("reading", 4, "read\ning"),
        ("KL(previous ‖ policy), nats", 40, "KL(previous ‖ policy), nats"),
    ],
)
def test_names_are_broken_where_a_word_ends(text, most, lines):
    assert broken(text, most) == lines


FULL = """
import resource, signal, sys
from pathlib import Path
from matplotlib.figure import Figure
from holdfast.report.style import save

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
figure = Figure()
figure.subplots().plot([1, 2])
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    save(figure, Path(sys.argv[1]), "figure", {})
except OSError as error:
    print(error.strerror)
"""


def test_a_disk_that_is_full_while_a_figure_is_written_is_said(tmp_path):
    """The writer of PDF would raise an AttributeError in its place."""
    ran = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=False)
    assert ran.stdout == "File too large\n", ran.stderr
    assert not list(tmp_path.iterdir())
