"""Drift: how far each stage moved the policy's outputs (KL) and its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast import rng
from holdfast.analysis.bootstrap import RESAMPLES, combine_seeds, estimate
from holdfast.analysis.method import MethodView
from holdfast.analysis.results import MethodRun, Record, Results
from holdfast.analysis.views import Analysis
from holdfast.report.panels import fit, heat, panels
from holdfast.report.rows import METHOD, Row
from holdfast.report.section import Drawing, Section
from holdfast.report.style import WIDTH, Looks, room, scaled
from holdfast.report.table import Column, Table, Value, digits, used

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = (  # of KL rows: name, what the policy is held against, on which prompts
    ("new", "New", "previous", "on prompts of the stage's own task"),
    ("old", "Earlier", "previous", "on prompts of earlier tasks"),
    ("general", "General", "previous", "on prompts of general benchmarks"),
    ("base", "Base", "base", "at the end, the sequence's tasks"),
)
HEAT = ("#f7f3ee", "#f2c9a1", "#e08a4f", "#b3452c", "#611a24")
MOST_NUMBERED = 14  # columns that are wide enough in the page for a number in every cell


def section(analysis: Analysis) -> Section:
    drawing = Drawing(
        "movement",
        "Where weights moved",
        "Length of a stage's update over that of the weights, %, mean over stages and seeds, for each part "
        "of the model and for all of it. Hatched: no such weights.",
        movement_figure,
    )
    tables = [divergence(analysis), movement(analysis), movement_by_group(analysis)]
    return Section("drift", "Drift: how far each stage moved the policy", "Drift", [*tables, drawing])


def divergence(analysis: Analysis) -> Table:
    """KL of each stage from the policy before it, by kind of prompt, and of the last from the base."""
    columns = [METHOD]
    for kind, name, reference, where in KINDS:
        columns += [
            Column(f"forward_{kind}", f"{name}, fwd", "digits", f"KL({reference} ‖ policy) {where}"),
            Column(f"reverse_{kind}", f"{name}, rev", "digits", f"KL(policy ‖ {reference}) {where}"),
        ]
    rows: list[Row] = []
    for method in _measured(analysis):
        row: Row = {"method": method.label}
        for kind, *_ in KINDS:
            for direction in ("forward", "reverse"):
                row[f"{direction}_{kind}"] = _seeds_mean(analysis.results, method, direction, kind)
        rows.append(row)
    note = (
        "Kullback-Leibler divergence in nats per completion between each stage's policy and the one before "
        "(of the first: the base), on prompts of the new task, of earlier tasks and of general benchmarks, "
        "mean over stages, prompts and seeds; and at the end from the base, on the sequence's tasks [95 % "
        "interval over what was sampled, and over seeds where there are several]. Forward (fwd): "
        "KL(reference ‖ policy). Reverse (rev): KL(policy ‖ reference)."
    )
    return Table("drift", "How far outputs moved", used(columns, rows), rows, note, tight=True)


def movement(analysis: Analysis) -> Table:
    """How far the weights moved, all together, mean over stages and seeds."""
    columns = [
        METHOD,
        Column("l2", "L2", "digits", "length of the update"),
        Column("relative", "Relative", "digits", "length of the update over that of the weights"),
        Column("share_1e-5", "> 1e-5", "points", "share of weights that moved by more, %"),
        Column("share_1e-4", "> 1e-4", "points", "share of weights that moved by more, %"),
        Column("share_1e-3", "> 1e-3", "points", "share of weights that moved by more, %"),
        Column("cosine", "Cosine", "coefficient", "of a stage's update with that of the stage before"),
    ]
    rows: list[Row] = []
    for method in _measured(analysis):
        row: Row = {"method": method.label}
        rows.append(row | {one.key: _movement_mean(method, one.key) for one in columns[1:]})
    note = (
        "Weights after a stage minus before it, in 32-bit precision, mean over stages and seeds [95 % "
        "interval over seeds]. A cosine near 0: successive tasks moved the weights in unrelated directions."
    )
    return Table("movement", "How far weights moved", columns, rows, note, tight=True)


def movement_by_group(analysis: Analysis) -> Table:
    """Relative movement of each part of the model."""
    groups = groups_of(analysis)
    rows: list[Row] = []
    for method in _measured(analysis):
        row: Row = {"method": method.label}
        rows.append(row | {group: group_movement(method, group) for group in groups})
    columns = [METHOD, *(Column(group, group, "digits") for group in groups)]
    note = "Length of the update over that of the group's weights, mean over stages and seeds."
    title = "Movement of each part of the model"
    return Table("movement_by_group", title, columns, rows, note, shown=False)


def groups_of(analysis: Analysis) -> list[str]:
    """Parts of the model in the order in which they were measured, the whole last."""
    names = dict.fromkeys(
        row["group"]
        for method in _measured(analysis)
        for drift in _drifts(method)
        for row in drift["movement"]
    )
    return [name for name in names if name != "all"] + [name for name in names if name == "all"]


def group_movement(method: MethodView, group: str) -> float:
    """Relative movement of one group, mean over stages and seeds; NaN where it has no weights."""
    found = [
        row["relative"]
        for drift in _drifts(method)
        for row in drift["movement"]
        if row["group"] == group and row["relative"] is not None
    ]
    return float(np.mean(found)) if found else np.nan


def _measured(analysis: Analysis) -> list[MethodView]:
    return [method for method in analysis.methods if _drifts(method)]


def _runs(method: MethodView) -> Sequence[MethodRun]:
    """The seeds that were measured after every stage, for stages differ; while there is none, all."""
    return [run for run in method.runs if len(run.measured("drift")) == method.stages] or method.runs


def _drifts(method: MethodView) -> list[dict[str, Any]]:
    return [drift for run in _runs(method) for drift in run.measured("drift").values()]


def _kl_rows(results: Results, run: MethodRun, kind: str) -> list[Record]:
    """A run's KL rows of one of `KINDS`: of each stage, or of the last one against the base."""
    order, drifts = results.order_of(run), run.measured("drift")
    if kind == "base":
        last = drifts.get(results.last_stage(run), {"kl": []})
        return [row for row in last["kl"] if row["reference"] == "base" and row["task"] in results.sequence]
    found = []
    for stage, drift in drifts.items():
        new = order if run.joint else order[stage - 1 : stage]
        old = () if run.joint else order[: stage - 1]
        tasks = {"new": new, "old": old, "general": results.general}[kind]
        previous = "previous" if stage > 1 else "base"  # before the first stage there is but the base
        found += [row for row in drift["kl"] if row["reference"] == previous and row["task"] in tasks]
    return found


def _seeds_mean(results: Results, method: MethodView, direction: str, kind: str) -> Value:
    """Mean over a method's rows, seeds resampled; within a seed, the standard error of what was sampled."""
    draws = []
    for run in _runs(method):
        rows = [row for row in _kl_rows(results, run, kind) if row[direction] is not None]
        if not rows:
            continue
        generator = np.random.default_rng(rng.seed("bootstrap", "drift", run.seed, direction))
        errors = [row.get(f"{direction}_se") or 0.0 for row in rows]
        error = float(np.sqrt(np.sum(np.square(errors)))) / len(rows)
        mean = float(np.mean([row[direction] for row in rows]))
        draws.append(mean + error * np.append(0.0, generator.standard_normal(RESAMPLES)))
    return _combined(draws, 0.0)


def _movement_mean(method: MethodView, name: str) -> Value:
    draws = []
    for run in _runs(method):
        drifts = run.measured("drift").values()
        whole = [row for drift in drifts for row in drift["movement"] if row["group"] == "all"]
        values = [row[name] for row in whole if row.get(name) is not None]
        if values:
            draws.append(np.full(RESAMPLES + 1, float(np.mean(values))))
    least = -1.0 if name == "cosine" else 0.0
    return _combined(draws, least, 1.0 if name == "cosine" or name.startswith("share_") else np.inf)


def _combined(draws: Sequence[np.ndarray], least: float, most: float = np.inf) -> Value:
    """The mean of seeds with its interval, which ends where the quantity does; the value alone where nothing
    varies."""
    if not draws:
        return None
    found = estimate(combine_seeds(np.stack(draws))).within(least, most)
    return found if found.high > found.low else found.value


def movement_figure(analysis: Analysis, looks: Looks) -> Figure | None:
    """Relative movement of each part of the model: methods down, parts across; None without."""
    methods, groups = _measured(analysis), groups_of(analysis)
    values = 100 * np.array([[group_movement(method, group) for group in groups] for method in methods])
    if np.isnan(values).all():  # adapters begin at a length of 0: in their first stage none is relative
        return None
    shares = values / max(float(np.nanmax(values)), 1e-12)
    x = np.arange(len(groups)) + 0.3 * np.array([group == "all" for group in groups])  # it stands apart

    numbered = len(groups) <= MOST_NUMBERED * room() / scaled(WIDTH)

    def written(row: int, column: int) -> str:
        return digits(float(values[row, column]), 2) if numbered else ""

    figure, (axes,) = panels(1, 1)
    heat(axes, x, np.arange(len(methods)), shares, HEAT, written)
    axes.set_xticks(x, groups)
    axes.set_yticks(range(len(methods)), [method.label for method in methods])
    return fit(figure, 0.26 * len(methods))
