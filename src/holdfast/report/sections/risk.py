"""What one update does to earlier tasks: implicit regularisation, and which instances an update spares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from holdfast.analysis.method import MethodView, by_family
from holdfast.analysis.regularisation import (
    BINS,
    CLAIMS,
    IDENTITY,
    IDENTITY_SAMPLED,
    IDENTITY_STD,
    IDENTITY_STD_SAMPLED,
    Claim,
    Fit,
    Instance,
    bin_of,
    fit_claim,
    instances_of,
    mean_by_bin,
)
from holdfast.analysis.views import Analysis
from holdfast.report.panels import (
    arms,
    beside,
    blank,
    entry,
    family_colours,
    fit,
    legend,
    method_legend,
    panels,
)
from holdfast.report.rows import METHOD, Row
from holdfast.report.section import Drawing, Part, Section
from holdfast.report.sections.training import draw_lines, training_lines
from holdfast.report.style import MUTED, PALETTE, Looks, room, scaled
from holdfast.report.table import Column, Table, text, used

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What one instance would do to the weights: the end of a quantity's key, and its name.
UPDATES = (
    ("sft_answer", "SFT, answer"),
    ("sft_reasoned", "SFT, reasoned"),
    ("group", "RFT"),
    ("group_std", "RFT, divided by std"),
)
QUANTITIES = [
    (f"{quantity}_{key}", f"{quantity}, {name}")
    for quantity in ("norm", "effect", "risk")
    for key, name in UPDATES
]
RISK_COLUMNS = [
    Column("claim", "Risk to earlier tasks"),
    Column("instances", "Instances", "count"),
    Column("live", "Rewards differ", "count", "instances with any reward variance: those fitted"),
    Column("slope", "Slope", "coefficient", "through the origin; 1 where the relation holds"),
    Column("rho", "Spearman", "coefficient", "rank correlation, −1 to 1"),
    Column("r2", "R²", "coefficient", "of the line through the origin; may be below 0"),
]
PANELS = (  # beside each other: without and with the division by the standard deviation
    (IDENTITY, "RFT against variance × SFT"),
    (IDENTITY_STD, "With std: against variance × SFT"),
    (IDENTITY_SAMPLED, "RFT against variance × own samples"),
    (IDENTITY_STD_SAMPLED, "With std: against variance × own samples"),
)
MOST_POINTS = 1500  # per panel, evenly picked: a page of tens of thousands of marks opens slowly
COLOURS = dict(zip(dict(UPDATES), (PALETTE[0], PALETTE[4], PALETTE[1], PALETTE[5]), strict=True))


def section(analysis: Analysis) -> Section:
    risk = Drawing(
        "risk",
        "RFT's risk against SFT's, damped by the reward variance",
        "A point per training instance (some, where there are many), in units of the mean SFT risk at its "
        "policy. On the dashed line the variance identity holds exactly. Instances whose samples all had "
        "one reward lie at 0 on both axes, which a logarithmic axis cannot show.",
        risk_figure,
    )
    selective = Drawing(
        "selective",
        "Which instances an update spares",
        "Means with 95 % intervals over instances, by the share of samples that were right. RFT is the "
        "update by rewards less their group's mean, so where all samples of an instance have one reward it "
        "does not move; SFT always does. At the policies of RFT methods, where there are any; the table has "
        "those of every method.",
        selective_figure,
    )
    parts: list[Part] = [
        risk,
        risk_table(analysis),
        risk_by_method(analysis),
        selective,
        selective_table(analysis),
    ]
    return Section("risk", "What one update does to earlier tasks", "Updates", parts)


def risk_table(analysis: Analysis) -> Table:
    """The variance identity fitted over the policies of all methods."""
    instances = instances_of([run for method in analysis.methods for run in method.runs])
    rows = [_risk_row(found) for claim in CLAIMS if (found := fit_claim(claim, instances))]
    note = (
        "Risk of an instance's gradient g is gᵀFg, F the Fisher information of the earlier tasks. The study "
        "(arXiv 2507.05386) says that RFT's is the reward variance times SFT's: a slope of 1. Dividing "
        "advantages by their standard deviation takes the variance out again: to [variance > 0] times SFT's "
        "the slope that agrees is (G − 1) / G, as the deviation of G samples divides by G − 1. [95 % "
        "interval, instances resampled.]"
    )
    title = "Is RFT's risk SFT's, damped by the reward variance?"
    return Table("risk", title, RISK_COLUMNS, rows, note, tight=True)


def risk_by_method(analysis: Analysis) -> Table:
    """The identity, without and with division by std, for the policies of each method."""
    rows: list[Row] = []
    for method in _measured(analysis):
        instances = instances_of(method.runs)
        found = [fit_claim(claim, instances) for claim in (IDENTITY, IDENTITY_STD)]
        rows += [_risk_row(one) | {"method": method.label} for one in found if one]
    note = "At the policies of each method before a stage. [95 % interval, instances resampled.]"
    title = "The same for each method's policies"
    return Table("risk_by_method", title, [METHOD, *RISK_COLUMNS], rows, note, tight=True, fold=True)


def _risk_row(found: Fit) -> Row:
    return {"claim": found.claim.name} | {one.key: getattr(found, one.key) for one in RISK_COLUMNS[1:]}


def selective_table(analysis: Analysis) -> Table:
    """Norm, one-step effect and risk of one instance's update, by whose policy it is at and its pass rate."""
    rows: list[Row] = []
    for family, instances in _by_family(analysis).items():
        counts = Counter(bin_of(one["pass_rate"]) for one in instances)
        bins: list[Row] = [
            {"family": family, "pass_rate": name, "instances": counts[index]}
            for index, name in enumerate(BINS)
        ]
        for key, _ in QUANTITIES:
            for row, mean in zip(bins, mean_by_bin(instances, key), strict=True):
                row[key] = mean
        rows += bins
    columns = [
        Column("family", "Policies of"),
        Column("pass_rate", "Pass rate"),
        Column("instances", "Instances", "count"),
        *(Column(key, heading, "digits") for key, heading in QUANTITIES),
    ]
    note = (
        "Mean over instances [95 % interval, instances resampled], at the policies of each method before its "
        "stages. Norm: length of the gradient of one instance. Effect: how fast a step on it raises the mean "
        "log-probability of right answers to earlier tasks, to first order, per unit of learning rate; "
        "negative is forgetting. Risk: gᵀFg, in units of the mean risk of SFT on bare answers at the policy."
    )
    title = "What one instance does, by its pass rate"
    return Table("selective", title, used(columns, rows), rows, note, tight=True, fold=True)


def _measured(analysis: Analysis) -> list[MethodView]:
    """Methods whose policies' risks were measured."""
    return [method for method in analysis.methods if instances_of(method.runs)]


def _by_family(analysis: Analysis) -> dict[str, list[Instance]]:
    return {
        family: instances_of([run for method in methods for run in method.runs])
        for family, methods in by_family(_measured(analysis)).items()
    }


def risk_figure(analysis: Analysis, looks: Looks) -> Figure | None:
    """Measured risk of RFT against reward variance × risk of SFT, on log axes; None without."""
    families = _by_family(analysis)
    if not families:
        return None
    colours = family_colours(analysis.methods, looks)
    figure, grid = panels(len(PANELS), 2)
    for axes, (claim, title) in zip(grid, PANELS, strict=True):
        _risk_panel(axes, claim, title, families, colours)
        axes.set_ylabel("measured risk of RFT")
        axes.set_xlabel("variance × risk of " + ("own samples" if "sampled" in claim.against else "SFT"))
    handles = [entry(f"policies of {f}", colours[f], linestyle="none", marker="o") for f in families]
    handles += [entry("equal", MUTED, linestyle="--"), entry("fitted slope", MUTED, linestyle="-")]
    legend(figure, handles)
    return fit(figure, 2.4)


def _risk_panel(
    axes: Axes, claim: Claim, title: str, families: Mapping[str, list[Instance]], colours: Mapping[str, str]
) -> None:
    everything = [row for rows in families.values() for row in rows]
    found = fit_claim(claim, everything)
    if found is None:
        axes.set_axis_off()
        return
    step = max(1, len(everything) // MOST_POINTS)
    extent: list[float] = []
    for family, rows in families.items():
        x, y = claim.xy(rows[::step])
        seen = (x > 0) & (y > 0)  # zeros have no place on a log axis
        axes.plot(x[seen], y[seen], "o", markersize=3, alpha=0.45, color=colours[family], markeredgewidth=0)
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
    axes.set_title(f"{title}\n{said}", fontsize=scaled(8.5), fontweight="normal")


def selective_figure(analysis: Analysis, looks: Looks) -> Figure | None:
    """Update norm and effect on old answers by pass rate; zero-advantage share over training."""
    measured = [run for method in analysis.methods for run in method.runs if run.measured("risk")]
    # At the policies that RFT meets: SFT may lead to others, at which updates do something else.
    by_rft = [run for run in measured if run.objective != "sft"]
    instances = instances_of(by_rft or measured)
    if not instances:
        return None
    shares = [one for one in training_lines(analysis, "zero_variance") if one[0].runs[0].group_baseline]
    figure = blank(room(), 4)
    rows, heights = ([["norm", "effect"]], [2.2]) if beside(2) > 1 else ([["norm"], ["effect"]], [2.2, 2.2])
    if shares:
        rows, heights = [*rows, ["shares"] * len(rows[0])], [*heights, 1.4]
    grid: dict[str, Axes] = figure.subplot_mosaic(rows, height_ratios=heights)
    norm, effect = grid["norm"], grid["effect"]
    kinds = _bins_panel(norm, instances, "norm")
    norm.set_title("Length of one instance's update")
    norm.set_ylabel("norm of the gradient")
    _bins_panel(effect, instances, "effect")
    effect.set_title("Its effect on right answers to old tasks")
    effect.set_ylabel("log-probability per unit of rate")
    if max(map(abs, effect.get_ylim())) > 1:  # a policy that has run away has effects ten times all others
        effect.set_yscale("symlog", linthresh=1)
    legend(figure, [entry(name, COLOURS[key], marker="o") for key, name in kinds])
    if shares:
        axes, stages = grid["shares"], range(1, len(analysis.results.sequence) + 1)
        draw_lines(axes, [(m, x, 100 * y) for m, x, y in shares], looks, [f"stage {n}" for n in stages])
        axes.set_title("Prompts without an advantage over training, %, one line per method of GRPO or RLOO")
        axes.set_ylim(bottom=0)
        method_legend(figure, [method for method, *_ in shares], looks, "outside lower center", markers=False)
    return fit(figure, 2.2)


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
        found = [means[index] for index in there]
        value = np.array([mean.value for mean in found])
        axes.errorbar(
            x[there], value, yerr=arms(*found, scale=1), color=COLOURS[key], marker="o", markersize=4,
            linewidth=1, elinewidth=1.2,
        )  # fmt: skip
    axes.axhline(0, color=MUTED, linewidth=0.9)
    axes.set_xticks(range(len(BINS)), BINS)
    axes.grid(axis="x", visible=False)
    return kinds
