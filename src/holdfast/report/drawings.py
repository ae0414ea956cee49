"""Which figures a report has, with their titles and captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.report import figures, training_figures
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
        "Just after training on the task against the end, mean over old tasks and seeds.",
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
