"""The figure of where in the model weights moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from holdfast.report.analysis import Analysis
from holdfast.report.drift import group_movement, groups_of, movement_by_group
from holdfast.report.style import GRID, WIDTH, Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NUMBERED = 14  # columns wide enough for a number in every cell


def movement_figure(analysis: Analysis, looks: Mapping[str, Look]) -> Figure | None:
    """Relative movement of each part of the model: methods down, parts across; None without."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    methods = [
        method for method in analysis.methods if any(drift for run in method.runs for drift in run.drift)
    ]
    groups = groups_of(analysis)
    if not methods or not groups:
        return None
    names = [str(row["method"]) for row in movement_by_group(analysis).rows]
    colours = LinearSegmentedColormap.from_list(
        "heat", ["#f7f3ee", "#f2c9a1", "#e08a4f", "#b3452c", "#611a24"]
    )
    values = 100 * np.array([[group_movement(method, group) for group in groups] for method in methods])
    largest = max(float(np.nanmax(values)), 1e-12)
    left, head, row_height = 0.25 + 0.078 * max(map(len, names)), 0.85, 0.26  # inches
    height = head + row_height * len(methods) + 0.15
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes(
        (left / WIDTH, 0.15 / height, (WIDTH - left - 0.15) / WIDTH, row_height * len(methods) / height)
    )
    x = np.arange(len(groups)) + 0.3 * np.array(
        [group == "all" for group in groups]
    )  # the whole stands apart
    for row in range(len(methods)):
        for column in range(len(groups)):
            value = values[row, column]
            corner = (x[column] - 0.5, row - 0.5)
            if np.isnan(value):
                axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor=GRID, hatch="////"))
                continue
            share = value / largest
            axes.add_patch(
                Rectangle(corner, 1, 1, facecolor=colours(share), edgecolor="#ffffff", linewidth=0.5)
            )
            if len(groups) <= MOST_NUMBERED:
                ink = "#ffffff" if share > 0.55 else "#14212b"
                said = f"{value:.2g}"
                axes.text(x[column], row, said, ha="center", va="center_baseline", fontsize=7.5, color=ink)
    axes.set_xlim(-0.5, x[-1] + 0.5)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xticks(x, groups, rotation=38, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(methods)), names)
    axes.tick_params(length=0, pad=3)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure
