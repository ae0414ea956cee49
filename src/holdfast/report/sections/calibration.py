"""Calibration: whether answers are as often right as the policy's own probability of them says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from holdfast.analysis.calibration import BINS, Moment, at_moment, change, judged_at, reliability
from holdfast.analysis.method import MethodView
from holdfast.analysis.views import Analysis
from holdfast.report.panels import first_column, fit, method_legend, panels
from holdfast.report.rows import BASE, METHOD, TASK, WHEN, Row, many
from holdfast.report.section import Drawing, Section
from holdfast.report.style import MUTED, Looks
from holdfast.report.table import Column, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOMENTS: dict[Moment, str] = {"base": "before all", "just": "just trained", "end": "end"}


def section(analysis: Analysis) -> Section:
    drawing = Drawing(
        "reliability",
        "Reliability",
        f"Share of right answers against their confidence, in {BINS} bins of equal mass, all tasks and seeds "
        "together. On the diagonal confidence is what it says; below it answers are less often right.",
        reliability_figure,
        fold=many(analysis),
    )
    title = "Calibration: are confident answers right?"
    return Section(
        "calibration", title, "Calibration", [calibration(analysis), drawing, calibration_by_task(analysis)]
    )


def calibration(analysis: Analysis) -> Table:
    """Each method just after training on each task and at the end, and its base."""
    rows: list[Row] = []
    for name, method, moment in _moments(analysis):
        found = at_moment(analysis.results, method.runs, moment)
        moved = change(analysis.results, method.runs) if moment == "end" else None
        if found:
            rows.append({"method": name, "when": MOMENTS[moment], **found, "change": moved})
    columns = [
        METHOD,
        WHEN,
        Column("ece", "ECE", "points", "expected calibration error"),
        Column("chance", "By chance", "points", "ECE if these confidences were perfect"),
        Column("change", "ECE, change", "change", "of old tasks, from just trained to end"),
        Column("over", "Over-confidence", "change", "mean confidence minus accuracy"),
        Column("brier", "Brier", "points", "mean square of confidence minus right or not; 25 is a coin's"),
        Column("sure_right", "Sure, right", "points", "mean confidence in right answers"),
        Column("sure_wrong", "Sure, wrong", "points", "mean confidence in wrong answers"),
        Column("answered", "Answered", "points", "items with a final answer; the others count nowhere here"),
    ]
    note = (
        "Confidence is the probability of the policy's own final answer, given what it wrote before it. "
        f"ECE is over {BINS} bins of equal mass in each task, mean over tasks and seeds [95 % interval]. "
        "It is above 0 by chance alone: compare it with the range beside it."
    )
    return Table("calibration", "Calibration", columns, rows, note, tight=True)


def calibration_by_task(analysis: Analysis) -> Table:
    """The same for each task, without intervals."""
    rows: list[Row] = []
    for name, method, moment in _moments(analysis):
        for task in analysis.results.sequence:
            judged = [
                one
                for run in method.runs
                for one in judged_at(analysis.results, run, moment)
                if one.task == task and not np.isnan(one.confidence_N).all()
            ]
            if judged:
                drawn = [one.draws() for one in judged]
                sums = {key: np.array([one[key][0] for one in drawn]) for key in drawn[0]}
                row: Row = {"method": name, "when": MOMENTS[moment], "task": task}
                row["ece"] = float(sums["ece"].mean())
                row["over"] = float(((sums["confidence"] - sums["right"]) / sums["answered"]).mean())
                row["answered"] = float(sums["answered"].mean())
                rows.append(row)
    columns = [
        METHOD,
        WHEN,
        TASK,
        Column("ece", "ECE", "points"),
        Column("over", "Over-confidence", "change"),
        Column("answered", "Answers", "count", "of a seed"),
    ]
    title, note = "Calibration, per task", "Mean over seeds."
    return Table("calibration_by_task", title, columns, rows, note, tight=True, fold=True)


def reliability_figure(analysis: Analysis, looks: Looks) -> Figure | None:
    """A panel for each moment that was measured, a line for each method; None without."""
    lines: dict[Moment, list[tuple[str, MethodView]]] = {}
    for name, method, moment in _moments(analysis):
        if any(judged_at(analysis.results, run, moment) for run in method.runs):
            lines.setdefault(moment, []).append((name, method))
    if not lines:
        return None
    figure, grid = panels(len(lines), len(lines), sharey=True)
    drawn: dict[str, MethodView] = {}
    for axes, (moment, methods) in zip(grid, lines.items(), strict=True):
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.7, linestyle="--")
        for name, method in methods:
            judged = [one for run in method.runs for one in judged_at(analysis.results, run, moment)]
            x, y = reliability(judged)
            look = looks[method.name]
            colour = MUTED if moment == "base" else look.colour
            axes.plot(100 * x, 100 * y, color=colour, marker=look.marker, linestyle=look.line, markersize=4)
            if name != BASE:
                drawn[method.name] = method
        axes.set_title(BASE if moment == "base" else MOMENTS[moment])
        axes.set_xlabel("confidence, %")
        axes.set(xlim=(0, 101), ylim=(0, 101))
        if first_column(axes):
            axes.set_ylabel("right, %")
    method_legend(figure, list(drawn.values()), looks)
    return fit(figure, 2.0)


def _moments(analysis: Analysis) -> list[tuple[str, MethodView, Moment]]:
    """The base once for each style, from the first method that it was measured for; and each method at its
    moments."""
    measured = [
        method
        for method in reversed(analysis.methods)
        if any(judged_at(analysis.results, run, "base") for run in method.runs)
    ]
    bases = {method.style: method for method in measured}
    found: list[tuple[str, MethodView, Moment]] = [(BASE, method, "base") for method in bases.values()]
    for method in analysis.methods:
        found += [(method.label, method, moment) for moment in ("just", "end")]
    return found
