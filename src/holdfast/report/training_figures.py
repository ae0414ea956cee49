"""The figures on training: curves of the learning loop, and the filters' pass rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.forgetting.matrix import nan_mean
from holdfast.report.analysis import Analysis, MethodView
from holdfast.report.figures import legend
from holdfast.report.style import GRID, MUTED, WIDTH, Look
from holdfast.report.tables import label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    ("clipped", "clipped ratios"),
)
POINTS_PER_STAGE = 40


def training_curves(analysis: Analysis, looks: Mapping[str, Look]) -> Figure | None:
    """Every metric that was recorded, over the stages, mean over seeds; None when there are none.

    The axis counts stages rather than steps, so that methods with different step counts, and a joint
    run's one long stage, stand side by side.
    """
    from matplotlib.figure import Figure

    drawn = {key: training_lines(analysis, key) for key, _ in PANELS}
    # What is 0 throughout (KL without a penalty, clipping with one update) tells nothing.
    panels = [(key, title) for key, title in PANELS if any(np.nan_to_num(y).any() for *_, y in drawn[key])]
    if not panels:
        return None
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    sequence = analysis.results.sequence
    height = 1.45 * down + 0.95
    figure = Figure(figsize=(WIDTH, height))
    grid = figure.subplots(down, across, sharex=True, squeeze=False)
    figure.subplots_adjust(0.07, 0.3 / height, 0.99, 1 - 0.65 / height, 0.16, 0.34)
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.set_visible(False)
            continue
        key, title = panels[index]
        axes.set_title(title)
        for method, x, y in drawn[key]:
            axes.plot(x, y, color=looks[method.name].colour, linestyle=looks[method.name].line, linewidth=1.2)
        for stage in range(1, len(sequence)):
            axes.axvline(stage, color=MUTED, linewidth=0.5, alpha=0.6)
        axes.set_xlim(0, len(sequence))
        axes.set_xticks(np.arange(len(sequence)) + 0.5, analysis.stage_labels, fontsize=7)
        axes.tick_params(axis="x", length=0, labelbottom=index + across >= len(panels))
        axes.grid(axis="x", visible=False)
    legend(figure, analysis.methods, looks)
    return figure


def training_lines(analysis: Analysis, key: str) -> list[tuple[MethodView, np.ndarray, np.ndarray]]:
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
            curves = [run.curves[stage] for run in method.runs if stage < len(run.curves)]
            seeds = [_binned(rows, name, points) for rows in curves]
            present = [values for values in seeds if values is not None]
            length = min((len(values) for values in present), default=0)
            if length:
                # NaN at the end lifts the pen between stages.
                x.append(
                    np.append(span * stage + span * (np.arange(length) + 0.5) / length, span * (stage + 1))
                )
                y.append(
                    np.append(nan_mean(np.stack([values[:length] for values in present]), axis=0), np.nan)
                )
        if y:
            lines.append((method, np.concatenate(x), np.concatenate(y)))
    return lines


def _binned(rows: Sequence[Mapping[str, Any]], name: str, points: int) -> np.ndarray | None:
    """The metric in at most `points` means of equally many steps; None if no row has it."""
    values = [float(row[name]) for row in rows if row.get(name) is not None]
    if not values:
        return None
    bins = np.array_split(np.array(values), min(points, len(values)))
    return np.array([part.mean() for part in bins])


def filter_histogram(analysis: Analysis, looks: Mapping[str, Look]) -> Figure | None:
    """How many training examples were answered right k of n times before each stage; None without filters."""
    from matplotlib.figure import Figure

    methods = [m for m in analysis.methods if any(entry for run in m.runs for entry in run.filters)]
    if not methods:
        return None
    columns = max(method.stages for method in methods)
    height = 1.65 * len(methods) + 0.75
    figure = Figure(figsize=(WIDTH, height))
    grid = figure.subplots(len(methods), columns, sharey="row", squeeze=False)
    figure.subplots_adjust(0.06, 0.5 / height, 0.99, 1 - 0.5 / height, 0.12, 0.45)
    for method, row in zip(methods, grid, strict=True):
        row[0].set_ylabel(f"{label(method)}\nexamples")
        for stage, axes in enumerate(row):
            found = [run.filters[stage] for run in method.runs if stage < len(run.filters)]
            entries = [entry for entry in found if entry]
            if not entries:
                axes.set_visible(False)
                continue
            histogram = np.mean([entry["histogram"] for entry in entries], axis=0)
            kept, total = (sum(entry[name] for entry in entries) for name in ("kept", "total"))
            axes.bar(range(len(histogram)), histogram, 0.8, color=looks[method.name].colour)
            axes.patches[0].set_facecolor(GRID)  # never right: no reward to learn from
            axes.patches[0].set_edgecolor(MUTED)
            name = "all tasks" if method.joint else method.order[stage]
            axes.set_title(f"{name}\n", fontsize=8.5)
            axes.annotate(
                f"kept {100 * kept / max(total, 1):.0f} %", (0, 1), (0, 4), "axes fraction",
                textcoords="offset points", fontsize=8, color=MUTED,
            )  # fmt: skip
            axes.set_xticks([0, len(histogram) // 2, len(histogram) - 1])
            axes.grid(axis="x", visible=False)
    figure.supxlabel("samples right, of those drawn per example", fontsize=9)
    return figure
