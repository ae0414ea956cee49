"""Which figures a report has, with their titles and captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.report import (
    axes_figures,
    drift_figures,
    figures,
    mechanism_figures,
    predictor_views,
    training_figures,
)
from holdfast.report.analysis import Analysis
from holdfast.report.style import RC, Look, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Plan:
    """A figure to draw; `draw` gives None where the results have nothing to show in it."""

    name: str
    title: str
    caption: str
    draw: Callable[[Analysis, Mapping[str, Look]], Figure | None]


@dataclass(frozen=True)
class Drawing:
    """A figure as it stands in the page."""

    name: str
    title: str
    caption: str
    svg: str


PLANS = (
    Plan(
        "accuracy_matrices",
        "Accuracy matrices",
        "Accuracy, %, mean over seeds. A row is the policy after training on the task named at its left; "
        "the first row is the untouched base. Outlined: the task just trained. Hatched: not evaluated.",
        figures.matrix_figure,
    ),
    Plan(
        "task_curves",
        "Each task over the stages",
        "The grey band is the stage that trains on the task (where methods learned the tasks in different "
        "orders, a larger marker on each line). Shaded: 95 % interval. Dashed: trained on all tasks at once. "
        "Dotted: chance.",
        figures.task_curves,
    ),
    Plan(
        "learned_forgotten",
        "Learned against forgotten",
        "Percentage points, with 95 % intervals. Better is up and to the right.",
        figures.scatter,
    ),
    Plan(
        "general_benchmarks",
        "General benchmarks before and after",
        "No stage trains on these. With 95 % intervals.",
        figures.general_figure,
    ),
    Plan(
        "turnover",
        "Items lost and gained on old tasks",
        "Just after training on the task against the end, mean over old tasks and seeds; 95 % intervals.",
        figures.turnover_figure,
    ),
    Plan(
        "training_curves",
        "Training curves",
        "Mean over seeds. The axis counts stages, so that methods with different numbers of steps stand "
        "side by side; dashed lines train on all tasks at once.",
        training_figures.training_curves,
    ),
    Plan(
        "pass_rates",
        "Pass rates seen by the filter",
        "Before each stage, how many of an example's samples were right. Grey: never right.",
        training_figures.filter_histogram,
    ),
    Plan(
        "along_axes",
        "Measures along the settings",
        "Mean over seeds; shaded: 95 % interval. Dotted: methods outside the grid.",
        axes_figures.axes_figure,
    ),
    Plan(
        "pareto",
        "What a gain costs",
        "A curve per family through its settings, in the order of what they learned (points alone where "
        "settings are categories), with 95 % intervals. "
        "At equal gain (the same place from left to right) the higher curve forgot less. "
        "Colours go from pale to dark through a family's settings.",
        axes_figures.pareto_figure,
    ),
    Plan(
        "movement",
        "Where weights moved",
        "Length of a stage's update over that of the weights, %, mean over stages and seeds, for each part "
        "of the model and for all of it. Hatched: no such weights.",
        drift_figures.movement_figure,
    ),
    Plan(
        "predictors",
        "The strongest predictors",
        "A point per stage after the first, of every method and seed, with the quadratic fit. Below 0: "
        "earlier tasks got worse. These are the strongest of all that were tried, one of each kind; the "
        "table has every one.",
        predictor_views.predictor_figure,
    ),
    Plan(
        "risk",
        "RFT's risk against SFT's, damped by the reward variance",
        "A point per training instance (some, where there are many), in units of the mean SFT risk at its "
        "policy. On the dashed line the variance identity holds exactly. Instances whose samples all had "
        "one reward lie at 0 on both axes, which a logarithmic axis cannot show.",
        mechanism_figures.risk_figure,
    ),
    Plan(
        "selective",
        "Which instances an update spares",
        "Means with 95 % intervals over instances, by the share of samples that were right. RFT is the "
        "update by rewards less their group's mean, so where all samples of an instance have one reward it "
        "does not move; SFT always does. At the policies of RFT methods, where there are any; the table has "
        "those of every method.",
        mechanism_figures.selective_figure,
    ),
)


def draw_all(analysis: Analysis, looks: Mapping[str, Look], folder: Path) -> dict[str, Drawing]:
    """Draw every figure that the results have data for, and save it to `folder` as PNG and PDF."""
    import matplotlib

    drawings = {}
    with matplotlib.rc_context(RC):
        for plan in PLANS:
            figure = plan.draw(analysis, looks)
            if figure is not None:
                svg = save(figure, folder, plan.name)
                drawings[plan.name] = Drawing(plan.name, plan.title, plan.caption, svg)
    return drawings
