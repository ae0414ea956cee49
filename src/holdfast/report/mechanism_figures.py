"""Figures on why: the variance identity, and which instances an update spares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from holdfast.forgetting.regularisation import BINS, CLAIMS, Claim, Instance, fit, instances_of, mean_by_bin
from holdfast.report.analysis import Analysis
from holdfast.report.mechanism import GROUP_BASELINED, UPDATES, measured_risk
from holdfast.report.style import MUTED, PALETTE, WIDTH, Look
from holdfast.report.table import text
from holdfast.report.tables import label
from holdfast.report.training_figures import training_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = (  # beside each other: without and with the division by the standard deviation
    (CLAIMS[0], "RFT against variance × SFT"),
    (CLAIMS[3], "With std: against variance × SFT"),
    (CLAIMS[2], "RFT against variance × own samples"),
    (CLAIMS[4], "With std: against variance × own samples"),
)
MOST_NAMED = 6  # lines with a legend entry each
MOST_POINTS = 1500  # per panel, evenly picked: a page of tens of thousands of marks opens slowly
COLOURS = dict(
    zip((key for key, _ in UPDATES), (PALETTE[0], PALETTE[4], PALETTE[1], PALETTE[5]), strict=True)
)


def risk_figure(analysis: Analysis, looks: Mapping[str, Look]) -> Figure | None:
    """Measured risk of RFT against reward variance × risk of SFT, on log axes; None without."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    families: dict[str, list[Instance]] = {}
    colour: dict[str, str] = {}
    for method in measured_risk(analysis):
        families.setdefault(method.family, []).extend(instances_of(method.runs))
    for family in families:
        members = [method.name for method in analysis.methods if method.family == family]
        colour[family] = looks[members[len(members) // 2]].colour
    if not families:
        return None
    figure = Figure(figsize=(WIDTH, 6.9))
    grid = figure.subplots(2, 2, squeeze=False)
    figure.subplots_adjust(0.085, 0.075, 0.985, 0.89, 0.2, 0.38)
    for axes, (claim, title) in zip(grid.flat, PANELS, strict=True):
        _risk_panel(axes, claim, families, colour)
        axes.set_title(title, pad=19)
        axes.set_ylabel("measured risk of RFT")
        axes.set_xlabel("variance × risk of " + ("own samples" if "sampled" in claim.against else "SFT"))
    handles = [
        Line2D([], [], linestyle="none", marker="o", color=colour[family], label=f"policies of {family}")
        for family in families
    ]
    handles += [
        Line2D([], [], color=MUTED, linestyle="--", label="equal"),
        Line2D([], [], color=MUTED, linestyle="-", label="fitted slope"),
    ]
    figure.legend(handles=handles, loc="upper center", ncols=min(len(handles), 6))
    return figure


def _risk_panel(
    axes: Axes, claim: Claim, families: Mapping[str, list[Instance]], colour: Mapping[str, str]
) -> None:
    everything = [row for rows in families.values() for row in rows]
    found = fit(claim, everything)
    if found is None:
        axes.set_axis_off()
        return
    step = max(1, len(everything) // MOST_POINTS)
    extent: list[float] = []
    for family, rows in families.items():
        x, y = claim.xy(rows[::step])
        seen = (x > 0) & (y > 0)  # zeros have no place on a log axis
        axes.plot(x[seen], y[seen], "o", markersize=3, alpha=0.45, color=colour[family], markeredgewidth=0)
        extent += [*x[seen].tolist(), *y[seen].tolist()]
    if not extent:
        axes.set_axis_off()
        return
    ends = np.array([min(extent), max(extent)]) * (0.8, 1.25)
    axes.plot(ends, ends, color=MUTED, linestyle="--", linewidth=1)
    axes.plot(ends, found.slope.value * ends, color=MUTED, linewidth=1.4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    still = found.instances - found.live
    said = f"slope {text(found.slope, 'coefficient')}" + (
        f"; {still} of {found.instances} at 0" if still else ""
    )
    axes.annotate(said, (0, 1), (0, 5), "axes fraction", textcoords="offset points", fontsize=8, color=MUTED)


def selective_figure(analysis: Analysis, looks: Mapping[str, Look]) -> Figure | None:
    """Update norm and effect on old answers by pass rate; zero-advantage share over training."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    measured = [run for method in analysis.methods for run in method.runs if any(run.risk)]
    # At the policies that RFT meets: SFT may lead to others, at which updates do something else.
    by_rft = [run for run in measured if run.objective != "sft"]
    instances = instances_of(by_rft or measured)
    if not instances:
        return None
    lines = [
        line for line in training_lines(analysis, "zero_variance") if line[0].objective in GROUP_BASELINED
    ]
    head, tall, short = 0.6, 2.3, 1.5  # inches
    named = 0.3 if len(lines) <= MOST_NAMED else 0.0  # below the axis: the lines fill the panel
    height = head + tall + 0.55 + (short + 0.65 + named if lines else 0)
    figure = Figure(figsize=(WIDTH, height))
    width = (WIDTH - 1.45) / 2
    kinds = []
    for column, (quantity, title) in enumerate(
        (("norm", "Length of one instance's update"), ("effect", "Its effect on right answers to old tasks"))
    ):
        left = 0.6 + column * (width + 0.75)
        axes = figure.add_axes((left / WIDTH, (height - head - tall) / height, width / WIDTH, tall / height))
        kinds = _bins_panel(axes, instances, quantity)
        axes.set_title(title)
        axes.set_ylabel("norm of the gradient" if quantity == "norm" else "log-probability per unit of rate")
        axes.set_xlabel("pass rate of the instance")
        if quantity == "effect":  # a policy that has run away has effects ten times those of all others
            axes.set_yscale("symlog", linthresh=1)
    handles = [Line2D([], [], color=COLOURS[key], marker="o", label=name) for key, name in kinds]
    figure.legend(handles=handles, loc="upper center", ncols=len(handles))
    if lines:
        axes = figure.add_axes((0.6 / WIDTH, (0.4 + named) / height, (WIDTH - 0.7) / WIDTH, short / height))
        for method, x, y in lines:
            axes.plot(
                x, 100 * y, color=looks[method.name].colour, linestyle=looks[method.name].line, linewidth=1.2
            )
        if named:
            axes.legend(
                [axes.lines[place] for place in range(len(lines))],
                [label(method) for method, _, _ in lines],
                loc="upper center",
                bbox_to_anchor=(0.5, -0.28 / short),
                ncols=min(len(lines), 4),
                fontsize=8,
            )
        sequence = analysis.results.sequence
        axes.set_title("Prompts without an advantage over training, %, one line per method of GRPO or RLOO")
        axes.set_xlim(0, len(sequence))
        axes.set_xticks(np.arange(len(sequence)) + 0.5, [f"stage {n + 1}" for n in range(len(sequence))])
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="x", visible=False)
        axes.set_ylim(bottom=0)
    return figure


def _bins_panel(axes: Axes, instances: list[Instance], quantity: str) -> list[tuple[str, str]]:
    """Means with intervals by pass rate, a colour per kind of update; returns the kinds that are there."""
    kinds = [
        (key, name)
        for key, name in UPDATES
        if any(row.get(f"{quantity}_{key}") is not None for row in instances)
    ]
    for place, (key, _) in enumerate(kinds):
        means = mean_by_bin(instances, f"{quantity}_{key}")
        x = np.arange(len(BINS)) + 0.13 * (place - (len(kinds) - 1) / 2)
        there = [index for index, mean in enumerate(means) if not np.isnan(mean.value)]
        value = np.array([means[index].value for index in there])
        low, high = (np.array([getattr(means[index], end) for index in there]) for end in ("low", "high"))
        arms = np.nan_to_num(np.maximum([value - low, high - value], 0))
        axes.errorbar(
            x[there],
            value,
            yerr=arms,
            color=COLOURS[key],
            marker="o",
            markersize=4,
            linewidth=1,
            elinewidth=1.2,
        )
    axes.axhline(0, color=MUTED, linewidth=0.9)
    axes.set_xticks(range(len(BINS)), BINS)
    axes.grid(axis="x", visible=False)
    return kinds
