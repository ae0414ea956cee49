"""What was learned and what was forgotten: the metrics of every method, and what limits them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from holdfast.analysis.bootstrap import estimate
from holdfast.analysis.method import MethodView
from holdfast.analysis.metrics import items_together, resolvable_difference
from holdfast.analysis.results import Record
from holdfast.analysis.views import Analysis
from holdfast.report.panels import cross, fit, method_legend, panels, points_on_x
from holdfast.report.rows import METHOD, SEEDS, STYLE, Row, base_rows, metrics, named
from holdfast.report.section import Drawing, Finding, Section
from holdfast.report.sections.differences import listed
from holdfast.report.style import MUTED, WIDTH, Looks
from holdfast.report.table import Column, Table, rounded, used

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CAUSES = 3  # of failures that are told


def section(analysis: Analysis) -> Section:
    caption = "Percentage points, with 95 % intervals. Better is up and to the right."
    return Section(
        "headline",
        "Learned and forgotten",
        "Summary",
        [
            headline(analysis),
            headline(analysis, other_style=True),
            origins(analysis),
            Drawing("learned_forgotten", "Learned against forgotten", caption, scatter),
        ],
        note="Signs: negative FM and BWT are forgetting; for every column more is better.",
        findings=unmoved(analysis),
        cautions=cautions(analysis),
    )


def headline(analysis: Analysis, *, other_style: bool = False) -> Table:
    """AvgAcc, FM, BWT, plasticity, learned and general change per method, with the base in front."""
    methods = analysis.other_style if other_style else analysis.methods
    columns = [
        METHOD,
        STYLE,
        SEEDS,
        Column("avg_acc", "AvgAcc", "points", "mean accuracy over the tasks at the end"),
        Column("fm", "FM", "change", "end minus best since learned, old tasks; closer to 0 is better"),
        Column("bwt", "BWT", "change", "end minus just trained, old tasks"),
        Column("plasticity", "Plasticity", "points", "mean accuracy on each task just after training on it"),
        Column("learned", "Learned", "change", "plasticity minus base"),
        Column("general", "General", "change", "general benchmarks, end minus base"),
    ]
    if not analysis.results.general:
        columns.pop()

    def average(source: MethodView) -> Row:
        sequence = len(analysis.results.sequence)
        return {"avg_acc": estimate(source.draws.accuracy_BST[:, 0, :sequence].mean(axis=-1)).within(0, 1)}

    rows, classes = base_rows(analysis, average, methods)
    rows += [named(method) | metrics(method) for method in methods]
    name, title = "headline", "Learned and forgotten"
    if other_style:
        name, title = "headline_other_style", f"{title}, judged under the other prompt style"
    note = "Percentage points, mean over seeds [95 % interval]."
    return Table(name, title, columns, rows, note, classes)


def origins(analysis: Analysis) -> Table:
    """Where each final average comes from, and what joint training reaches."""
    rows = []
    for method in analysis.sequential:
        tasks = len(method.order)
        old, draws = (tasks - 1) / tasks, method.draws.metrics
        if np.isnan(
            [draws["fwt"][0], draws["avg_acc"][0]]
        ).any():  # not judged before their turn, or not done
            continue
        base, before = draws["plasticity"] - draws["learned"], old * draws["fwt"]
        if not method.complete:  # seeds on their way may have it already; those that end here count
            before = draws["avg_acc"] - base - draws["tlg"] - old * draws["bwt"]
        row = named(method) | {
            "base": estimate(base).within(0, 1),
            "fwt": estimate(before).within(-old, old),
            "tlg": method.metric("tlg"),
            "bwt": estimate(old * draws["bwt"]).within(-old, old),
            "avg_acc": method.metric("avg_acc"),
        }
        if (ctm := analysis.ctm(method)) is not None:
            row["ctm"] = ctm
        rows.append(row)
    columns = [
        METHOD,
        Column("base", "Base", "points", "mean accuracy of the base on the same tasks"),
        Column("fwt", "Before", "change", "(T - 1) / T · FWT: what earlier stages added before a task's own"),
        Column("tlg", "In its stage", "change", "TLG: just after minus just before training on the task"),
        Column("bwt", "After", "change", "(T - 1) / T · BWT: what later stages took or added"),
        Column("avg_acc", "AvgAcc", "points", "the sum of these"),
        Column("ctm", "CTM", "coefficient", "AvgAcc over that of joint training by the same objective"),
    ]
    note = "Percentage points [95 % interval]; each row adds up to its AvgAcc."
    return Table("origins", "Where the final average comes from", used(columns, rows), rows, note)


def scatter(analysis: Analysis, looks: Looks) -> Figure | None:
    """Learned against forgotten, and learned against general change, with intervals.

    None while no method has finished.
    """
    methods = [method for method in analysis.sequential if method.draws.complete]
    if not methods or len(analysis.results.sequence) < 2:
        return None
    measured = [("fm", "FM", "forgotten")]
    if analysis.results.general:
        measured.append(("general", "end minus base", "general ability"))
    figure, grid = panels(len(measured), len(measured), WIDTH / 2 * len(measured))
    for axes, (metric, axis_label, title) in zip(grid, measured, strict=True):
        for method in methods:
            cross(axes, method.metric("learned"), method.metric(metric), looks[method.name])
        axes.axhline(0, color=MUTED, linewidth=0.9)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -1), max(high, 1))
        axes.margins(0.08)
        points_on_x(axes)
        axes.set_title(f"Learned against {title}")
        axes.set_xlabel("learned: just trained minus base, points")
        axes.set_ylabel(f"{axis_label}, points")
    method_legend(figure, methods, looks)
    return fit(figure, 2.4)


def unmoved(analysis: Analysis) -> list[Finding]:
    """Whether training changed nothing that is judged: every item's score is the base's at every stage."""
    names = [method.name for method in analysis.methods if method.finished_runs and _is_unmoved(method)]
    if not names:
        return []
    text = (
        f"{listed(names)} {'scores' if len(names) == 1 else 'score'} every test item as the base does, after "
        "every stage that is judged, so there is nothing to compare. Raise learning_rate or iterations, or "
        "see under Training whether there was anything to learn from (the loss; for RFT, groups with equal "
        "rewards)."
    )
    return [Finding("Nothing moved", text)]


def _is_unmoved(method: MethodView) -> bool:
    def scores(records: Iterable[Record]) -> list[float]:
        return [record["score"] for record in records]

    return all(
        scores(records) == scores(run.cells.get((0, task), []))
        for run in method.runs
        for (stage, task), records in run.cells.items()
        if stage
    )


def cautions(analysis: Analysis) -> list[str]:
    """What limits the findings: unfinished runs, rows left out, seeds, styles, number of items."""
    unfinished: dict[str, list[str]] = {}  # how far they are -> methods
    for method in analysis.methods:
        if not method.complete:
            seeds = zip(method.runs, method.finished, strict=True)
            done = ", ".join(f"seed {run.seed}: {count} of {method.stages}" for run, count in seeds)
            unfinished.setdefault(done, []).append(method.name)
    notes = [
        f"{listed(names)} {'is' if len(names) == 1 else 'are'} not finished (stages evaluated: {done}); "
        "a metric counts the seeds that have all it needs."
        for done, names in unfinished.items()
    ]
    if unfinished:
        failed = analysis.results.failed
        notes += [f"Failed: {' '.join(cause.split())}" for cause in failed[:MOST_CAUSES]]
        if len(failed) > MOST_CAUSES:
            notes.append(f"Jobs failed for {len(failed)} reasons, of which these are the first.")
        again = "; what failed is tried again" if failed else ""
        notes.append(f"The same 'holdfast run' goes on from here{again}.")
    notes += [f"{one.text}. {' '.join(one.first)}" for one in analysis.results.left_out]
    notes += _seeds(max((method.draws.seeds for method in analysis.methods), default=0))
    if len({method.style for method in analysis.methods}) > 1:
        notes.append(
            "Methods are judged under different prompt styles; compare each with the base row of its style. "
            "Where a method and its reference differ in style, their general changes start from two bases."
        )
    if len(analysis.sequential) > 1:
        notes.append(
            "A difference is called shown when its 95 % interval leaves zero out and its p-value, corrected "
            "for the number of comparisons in its table, is at most 0.05."
        )
    if counts := [count for count in analysis.items.values() if count]:
        notes.append(_resolution(analysis, min(counts)))
    return notes


def _seeds(count: int) -> Sequence[str]:
    if count == 1:
        return [
            "One seed: intervals cover the choice of test items, not how another training run would differ."
        ]
    if 1 < count < 5:
        told = "where seeds differ, so few make them long"
        return [f"{count} seeds: intervals cover test items and seeds; {told}."]
    return []


def _resolution(analysis: Analysis, items: int) -> str:
    counts = [analysis.items[task] for task in analysis.results.sequence if analysis.items[task]]
    together = items_together(counts) if counts else items

    def resolved(count: int, *, paired: bool) -> str:
        least = resolvable_difference(count, paired=paired)
        return rounded(least, 1, times=100) if least < 1 else "none"

    each, mean = (resolved(count, paired=True) for count in (items, together))
    difference = "no difference between two methods"
    if each != "none":
        difference = f"a difference between two methods of {each} points"
    which, where = "per task", "one task"
    if len({count for count in analysis.items.values() if count}) > 1:
        which, where = "of the smallest task", "it"
    resolve = f"item {which} resolves" if items == 1 else f"items {which} resolve"
    points = "" if mean == "none" else " points"
    return (
        f"{items} test {resolve} {difference} on {where}, and the sequence's tasks together {mean}{points} "
        "in AvgAcc (the same items, a fifth of them judged differently; independent items: "
        f"{resolved(items, paired=False)} and {resolved(together, paired=False)}); 80 % power, seeds aside."
    )
