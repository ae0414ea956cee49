"""Training: what it took, its curves, the filters' pass rates, and prompts without an advantage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.analysis.bootstrap import RESAMPLES, combine_seeds, estimate
from holdfast.analysis.matrix import nan_mean
from holdfast.analysis.method import MethodView
from holdfast.analysis.results import MethodRun
from holdfast.analysis.views import Analysis
from holdfast.report.panels import fit, method_legend, panels
from holdfast.report.rows import METHOD, Row, many
from holdfast.report.section import Drawing, Section
from holdfast.report.sections.differences import listed
from holdfast.report.style import GRID, MUTED, Looks, scaled
from holdfast.report.table import Column, Table, Value, rounded, used

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AMOUNTS = (  # of a stage's totals
    *("examples", "completions", "tokens", "seconds"),
    *("prompt_tokens", "sampled_tokens", "flops", "joules"),
)
FILTER_AMOUNTS = ("completions", "flops", "seconds")
ALWAYS = ("method", "examples", "completions", "tokens", "seconds", "kept")  # even where none did

# Metrics row -> title. SFT and RFT losses have different scales and meanings, hence two panels.
PANELS: tuple[tuple[str, str], ...] = (
    ("reward", "reward"),
    ("accuracy", "accuracy of samples"),
    ("loss:sft", "loss, SFT"),
    ("loss:rft", "loss, RFT"),
    ("format", "share in the right format"),
    ("length", "response length, tokens"),
    ("entropy", "entropy, nats per token"),
    ("kl", "KL to the reference"),
    ("grad_norm", "gradient norm before clipping"),
    ("zero_variance", "groups with equal rewards"),
    ("distinct", "distinct samples, share"),
    ("clipped", "clipped ratios"),
    ("masked", "tokens that are not learned"),
)
POINTS_PER_STAGE = 40


def section(analysis: Analysis) -> Section:
    return Section(
        "training",
        "Training",
        "Training",
        [
            budget(analysis),
            Drawing(
                "training_curves",
                "Training curves",
                "Mean over seeds. The axis counts stages, so that methods with different numbers of steps "
                "stand side by side; dashed lines train on all tasks at once.",
                training_curves,
            ),
            Drawing(
                "pass_rates",
                "Pass rates seen by the filter",
                "Before each stage, how many of an example's samples were right. Grey: never right.",
                filter_histogram,
            ),
            zero_advantage_table(analysis),
        ],
        empty="No training metrics were recorded.",
    )


def budget(analysis: Analysis) -> Table:
    """What training took, per seed."""
    columns = [
        METHOD,
        Column("examples", "Examples", "count", "training examples seen, repeats included"),
        Column("completions", "Completions", "count", "sampled while learning, discarded ones too"),
        Column("tokens", "Tokens", "count", "learned from: of completions, or of the targets of SFT"),
        Column("prompt_tokens", "Prompt tokens", "count", "of the prompts, images included"),
        Column("sampled_tokens", "Sampled tokens", "count", "of all completions, discarded ones too"),
        Column(
            "flops", "Operations", "flop", "floating-point operations of learning, counted from the model"
        ),
        Column("joules", "Energy", "joule", "of the processors, where it can be read"),
        Column("kept", "Kept by filter", "points", "share of the training examples"),
        Column("filter_completions", "Filter's completions", "count", "sampled to choose what to train on"),
        Column("filter_flops", "Filter's operations", "flop", 'of these; "Operations" leaves them out'),
        Column("filter_seconds", "Filter's seconds", "count", "wall clock of the filter"),
        Column("seconds", "Seconds", "count", "wall clock of training"),
    ]
    rows: list[Row] = []
    for method in analysis.methods:
        runs = through(method)
        if not runs:
            continue
        spent = [_spent(total, method.objective) for run in runs for total in run.totals if total]
        filters = [entry for run in runs for entry in run.filters if entry]
        row: Row = {"method": method.label, "kept": _kept(filters)}
        row |= {name: per_seed(spent, name, len(runs)) for name in AMOUNTS}
        rows.append(row | {f"filter_{name}": per_seed(filters, name, len(runs)) for name in FILTER_AMOUNTS})
    # What no method measured is no column, beyond what every report shows.
    measured = used(columns, rows)
    columns = [column for column in columns if column.key in ALWAYS or column in measured]
    note = "Per seed, all stages together, mean over seeds."
    if any(_stages_learned(run) < method.stages for method in analysis.methods for run in method.runs):
        note += " Seeds that are not through do not count; where none is, it is what was spent so far."
    return Table("budget", "Training budget", columns, rows, note)


def through(method: MethodView) -> list[MethodRun]:
    """The seeds that learned in every stage; while there is none, those that have begun."""
    begun = [run for run in method.runs if _stages_learned(run)]
    return [run for run in begun if _stages_learned(run) == method.stages] or begun


def _stages_learned(run: MethodRun) -> int:
    return sum(map(bool, run.totals))


def per_seed(entries: Sequence[Mapping[str, Any]], name: str, seeds: int) -> float | None:
    """An amount of what some seeds spent; None where nobody measured it."""
    amounts = [entry[name] for entry in entries if entry.get(name) is not None]
    return float(sum(amounts)) / seeds if amounts else None


def _spent(total: Mapping[str, Any], objective: str) -> dict[str, Any]:
    """A stage's totals with the completions that were sampled in place of those learned from."""
    # Totals of the first versions do not tell the two apart; SFT's targets were all given then.
    learned_from = None if objective == "sft" else total.get("completions")
    return {**total, "completions": total.get("sampled", learned_from) or None}


def _kept(filters: Sequence[Mapping[str, Any]]) -> float | None:
    total = sum(entry["total"] for entry in filters)
    return sum(entry["kept"] for entry in filters) / total if total else None


def training_curves(analysis: Analysis, looks: Looks) -> Figure | None:
    """Every metric that was recorded, over the stages, mean over seeds; None when there are none.

    The axis counts stages rather than steps, so that methods with different step counts, and a joint
    run's one long stage, stand side by side.
    """
    drawn = {key: training_lines(analysis, key) for key, _ in PANELS}
    # What is 0 throughout (clipping with one update) tells nothing.
    shown = [(key, title) for key, title in PANELS if not _zero([y for *_, y in drawn[key]])]
    if not shown:
        return None
    figure, grid = panels(len(shown), min(2, len(shown)), sharex=True)
    for axes, (key, title) in zip(grid, shown, strict=True):
        axes.set_title(title)
        draw_lines(axes, drawn[key], looks, analysis.stage_labels)
        for stage in range(1, len(analysis.results.sequence)):
            axes.axvline(stage, color=MUTED, linewidth=0.5, alpha=0.6)
    method_legend(figure, analysis.methods, looks)
    return fit(figure, 1.1)


Line = tuple[MethodView, np.ndarray, np.ndarray]


def draw_lines(axes: Axes, lines: Sequence[Line], looks: Looks, stages: Sequence[str]) -> None:
    """Curves over the stages of training."""
    for method, x, y in lines:
        axes.plot(x, y, color=looks[method.name].colour, linestyle=looks[method.name].line, linewidth=1.2)
    axes.set_xlim(0, len(stages))
    axes.set_xticks(np.arange(len(stages)) + 0.5, stages, fontsize=scaled(7))
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)


def training_lines(analysis: Analysis, key: str) -> list[Line]:
    """(method, x in stages, y) for every method that recorded the metric."""
    name, _, kind = key.partition(":")
    lines = []
    for method in analysis.methods:
        if kind and (method.objective == "sft") != (kind == "sft"):
            continue
        span = len(analysis.results.sequence) if method.joint else 1
        points = POINTS_PER_STAGE * span
        x, y = [], []
        for stage in range(method.stages):
            curves = (run.curves[stage] for run in method.runs if stage < len(run.curves))
            present = [values for rows in curves if (values := _binned(rows, name, points)) is not None]
            length = min((len(values) for values in present), default=0)
            if length:
                # NaN at the end lifts the pen between stages.
                x.append(
                    np.append(span * stage + span * (np.arange(length) + 0.5) / length, span * (stage + 1))
                )
                y.append(
                    np.append(nan_mean(np.stack([values[:length] for values in present]), axis=0), np.nan)
                )
        if y and not (name == "kl" and _zero(y)):
            lines.append((method, np.concatenate(x), np.concatenate(y)))
    return lines


def _zero(curves: Sequence[np.ndarray]) -> bool:
    """Whether they are 0 throughout. A KL that is so was not measured: the method has no penalty."""
    return not any(np.nan_to_num(curve).any() for curve in curves)


def _binned(rows: Sequence[Mapping[str, Any]], name: str, points: int) -> np.ndarray | None:
    """The metric in at most `points` means of equally many steps; None if no row has it."""
    values = [float(row[name]) for row in rows if row.get(name) is not None]
    if not values:
        return None
    bins = np.array_split(np.array(values), min(points, len(values)))
    return np.array([part.mean() for part in bins])


def filter_histogram(analysis: Analysis, looks: Looks) -> Figure | None:
    """How many training examples were answered right k of n times before each stage; None without filters."""
    methods = [m for m in analysis.methods if any(entry for run in m.runs for entry in run.filters)]
    if not methods:
        return None
    across = max(method.stages for method in methods)
    figure, grid = panels(across * len(methods), across, sharey="row")
    for place, axes in enumerate(grid):
        method, stage = methods[place // across], place % across
        found = [run.filters[stage] for run in method.runs if stage < len(run.filters)]
        if stage == 0:
            axes.set_ylabel(f"{method.label}\nexamples")
        entries = [entry for entry in found if entry]
        if not entries:
            axes.set_visible(False)
            continue
        histogram = np.mean([entry["histogram"] for entry in entries], axis=0)
        bars = axes.bar(range(len(histogram)), histogram, 0.8, color=looks[method.name].colour)
        bars[0].set(facecolor=GRID, edgecolor=MUTED)  # never right: no reward to learn from
        kept = rounded(_kept(entries) or 0.0, 0, times=100)
        title = f"{method.trained_on(stage + 1)}\nkept {kept} %"
        axes.set_title(title, fontsize=scaled(8), fontweight="normal")
        axes.set_xticks([0, len(histogram) // 2, len(histogram) - 1])
        axes.grid(axis="x", visible=False)
    figure.supxlabel("samples right, of those drawn per example", fontsize=scaled(9))
    return fit(figure, 0.95)


def zero_advantage_table(analysis: Analysis) -> Table:
    """Share of prompts whose samples all had the same reward, per method that compares these with each other.

    Without a baseline (REINFORCE), or with that of the greedy answer (ReMax), such a prompt may push.
    """
    rows: list[Row] = []
    for method in analysis.methods:
        if not method.runs[0].group_baseline:
            continue
        if seeds := [shares for run in method.runs if (shares := zero_shares(run))]:
            row: Row = {"method": method.label, "first": _mean_of_seeds([shares[0] for shares in seeds])}
            ended = [shares for shares in seeds if len(shares) == method.stages]
            row["last"] = _mean_of_seeds([shares[-1] for shares in ended])
            rows.append(row | {"mean": _mean_of_seeds([float(np.mean(shares)) for shares in ended])})
    columns = [
        METHOD,
        Column("first", "First stage", "points"),
        Column("last", "Last stage", "points"),
        Column("mean", "All stages", "points"),
    ]
    note = (
        "Share of prompts, %, whose samples all had the same reward, so that what compares a sample with "
        "the others of its prompt had nothing to push by. Mean over seeds [95 % interval "
        "over these]. A KL penalty, where there is one, acts on such prompts too."
    )
    refilled = [method.label for method in analysis.methods if _draws_again(method)]
    if refilled:
        note += (
            f" {listed(refilled)} drew other prompts in the places of such ones (refills): the share is that "
            "of the prompts that stayed, not of all that were drawn."
        )
    title = "Prompts without an advantage"
    return Table("zero_advantage", title, columns, rows, note, fold=many(analysis))


def _draws_again(method: MethodView) -> bool:
    return any("drawn" in row for run in method.runs for rows in run.curves for row in rows)


def zero_shares(run: MethodRun) -> list[float]:
    """Mean share of prompts with equal rewards in each stage that recorded it."""
    stages = [
        [row["zero_variance"] for row in rows if row.get("zero_variance") is not None] for rows in run.curves
    ]
    return [float(np.mean(values)) for values in stages if values]


def _mean_of_seeds(values: Sequence[float]) -> Value:
    if len(values) < 2:
        return values[0] if values else None
    draws_RB = np.repeat(np.array(values)[:, None], RESAMPLES + 1, axis=1)
    return estimate(combine_seeds(draws_RB)).within(0.0, 1.0)
