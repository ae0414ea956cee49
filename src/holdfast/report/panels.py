"""How figures are laid out: panels of one size, a legend on top, and as much room as their words need."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.analysis.bootstrap import Estimate
from holdfast.analysis.method import MethodView, by_family
from holdfast.report.style import GRID, WIDTH, Look, Looks, room, scaled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import LayoutEngine

MOST_GROWTHS = 4  # of a figure that has no room for its panels
MOST_COLUMNS = 7  # of a legend
GAP = 0.08  # inches, between a title and what stands beside its panel
MOST_NAME = 0.4  # of the width there is, for names beside the first panel
MOST_NAMED = 8  # methods with a legend entry each; of more, families alone


def beside(across: int) -> int:
    """How many panels stand side by side, of so many in the page: as many as keep their size."""
    return max(1, round(across * room() / scaled(WIDTH)))


def panels(
    count: int, across: int, width: float = WIDTH, *, exactly: bool = False, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels in rows; what is left over stays empty in the first row.

    So all columns end in the last row, where a shared axis has its tick labels.

    Args:
        across: panels in a row of the page; in a narrower paper there are fewer, unless `exactly` so many.
        width: of the figure in the page, in inches.
    """
    across = across if exactly else min(across, beside(across))
    width = min(room(), scaled(width))
    down = -(-count // across)
    figure = blank(width, 4 * down)
    grid = list(figure.subplots(down, across, squeeze=False, **options).flat)
    spare = -count % across
    for axes in grid[across - spare : across]:
        axes.remove()
    return figure, grid[: across - spare] + grid[across:]


def blank(width: float, height: float) -> Figure:
    """A figure of so many inches, which `fit` makes as high as it has to be."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # measures words at once; without it every word would have a canvas of its own
    return figure


def first_column(axes: Axes) -> bool:
    """Whether the panel is the first of its row."""
    place = axes.get_subplotspec()
    return place is not None and place.is_first_col()


def fit(figure: Figure, height: float, width: float | None = None) -> Figure:
    """Let the figure grow until its first panel is so large, in inches of the page, whatever is written
    around it.

    Titles wider than their panel are broken into lines, and so are names beside the panels that would leave
    them little room; ticks that run into one another are turned.
    """
    first, layout, place = figure.axes[0], figure.get_layout_engine(), figure.axes[0].get_subplotspec()
    assert layout and place
    grid = place.get_gridspec()
    ratios: list[Any] = [grid.get_width_ratios(), grid.get_height_ratios()]
    shares = np.array([sum(one) / one[0] for one in ratios])
    for axes in figure.axes:
        _break_names(axes)
        _turn_ticks(axes)
        for axis in (axes.xaxis, axes.yaxis):
            if not axis.get_label_text():
                axis.set_label_coords(0, 0)  # else every layout goes through all ticks to find its place
    height = max(scaled(height), _broken_height(first))
    for step in range(3):
        _lay_out(figure, layout)
        has = np.array(first.bbox.size) / figure.dpi
        wants = np.array([has[0] if width is None else scaled(width), height])
        changed, higher = False, 0.0
        if step == 1:  # the panels have nearly their size now
            turned = [_turn_ticks(axes) for axes in figure.axes]
            added = [_break_lines(axes, min(1, wants[0] / has[0])) for axes in figure.axes]
            changed = any(turned) or any(inches is not None for inches in added)
            higher = max(filter(None, added), default=0.0)
        if step and not changed and np.allclose(has, wants, rtol=0, atol=1e-6):
            break  # as it stands
        wide, high = figure.get_size_inches() + (wants - has) * shares
        # New lines must not push the panels out of the figure: no layout would be found.
        figure.set_size_inches(wide, high + higher * grid.nrows)
    else:
        _lay_out(figure, layout)
    # Three files, one layout. (With the engine "none" every file would be drawn twice.)
    figure.set_layout_engine(None)
    return figure


def _lay_out(figure: Figure, layout: LayoutEngine) -> None:
    """Give the panels their places; in a larger figure, where words alone fill this one."""
    with warnings.catch_warnings(action="error", category=UserWarning):
        for _ in range(MOST_GROWTHS):
            try:
                return layout.execute(figure)
            except UserWarning:  # "axes sizes collapsed to zero"
                wide, high = figure.get_size_inches()
                figure.set_size_inches(1.5 * wide, 1.5 * high)
    layout.execute(figure)


def _break_names(axes: Axes) -> None:
    names = [label for label in axes.get_yticklabels() if label.get_visible() and label.get_text()]
    needs, most = max((name.get_window_extent().width for name in names), default=0), MOST_NAME * room()
    if needs > most * axes.figure.dpi:
        characters = int(max(len(name.get_text()) for name in names) * most * axes.figure.dpi / needs)
        axes.set_yticks(axes.get_yticks(), [broken(name.get_text(), characters) for name in names])


def _broken_height(axes: Axes) -> float:
    """Inches that names beside a panel take, one below the other, if some were broken."""
    names = axes.get_yticklabels()
    if not any("\n" in name.get_text() for name in names):
        return 0
    return len(names) * 1.15 * max(name.get_window_extent().height for name in names) / axes.figure.dpi


def _break_lines(axes: Axes, narrower: float) -> float | None:
    """Inches by which what is written above and below a panel became higher; None if nothing was broken.

    Args:
        narrower: the share of its width that the panel will have.
    """
    from matplotlib.text import Text

    titles = [text for text in axes.get_children() if isinstance(text, Text) and text not in axes.texts]
    higher = None
    for text in (*titles, axes.xaxis.label, axes.yaxis.label):
        side = int(text is axes.yaxis.label)
        before, room = text.get_window_extent().size, axes.bbox.size[side] * (1 if side else narrower)
        if before[side] > room and text in titles:
            room = _room_for_title(axes) * narrower
        if before[side] > room and text.get_text():
            lines = text.get_text().split("\n")
            most = max(int(max(map(len, lines)) * room / before[side]), 4)
            text.set_text("\n".join(broken(line, most) for line in lines))
            added = 0 if side else text.get_window_extent().height - before[1]
            higher = (higher or 0.0) + added / axes.figure.dpi
    return higher


def _room_for_title(axes: Axes) -> float:
    """Pixels from the left of a panel to whatever stands beside it, or else to its own right."""
    figure = axes.get_figure()
    assert figure is not None
    others = [
        other.get_tightbbox(for_layout_only=True)
        for other in figure.axes
        if other.bbox.x0 > axes.bbox.x1 and other.bbox.y1 > axes.bbox.y0 and other.bbox.y0 < axes.bbox.y1
    ]
    edge = min((box.x0 - GAP * figure.dpi for box in others if box), default=axes.bbox.x1)
    return float(edge - axes.bbox.x0)


def broken(text: str, most: int) -> str:
    """The text in lines of at most so many characters, which end behind a space, or else `_` and the like."""
    lines = [""]
    ends = r"\s" if max(map(len, text.split()), default=0) <= most else r"[\s_,=]|(?<!\de)-"
    for piece in re.findall(rf".{{0,{most - 1}}}?(?:{ends}|.$)|.{{1,{most}}}", text):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > most:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _turn_ticks(axes: Axes) -> bool:
    """Turn tick labels that run into one another; whether any were turned."""
    labels = axes.get_xticklabels(which="both")
    shown = [label.get_window_extent() for label in labels if label.get_visible() and label.get_text()]
    inside = [box for box in shown if axes.bbox.x0 - 1 <= (box.x0 + box.x1) / 2 <= axes.bbox.x1 + 1]
    boxes = sorted(inside, key=lambda box: box.x0)
    if all(left.x1 + 3 < right.x0 for left, right in pairwise(boxes)):
        return False
    apart = min(right.x0 + right.x1 - left.x0 - left.x1 for left, right in pairwise(boxes)) / 2
    steep = apart < 2.2 * min(box.height for box in boxes) or axes.xaxis.get_ticks_position() == "top"
    angle = 90 if steep else 35
    turned = any(label.get_rotation() != angle for label in labels)
    for label in labels:
        label.set(rotation=angle, ha="center" if steep else "right")
        label.set_rotation_mode("default" if steep else "anchor")
    return turned


def legend(figure: Figure, handles: Sequence[Any], where: str = "outside upper center") -> None:
    """Above the figure, in as many columns as fit; `fit` makes room for it."""
    for columns in range(min(len(handles), MOST_COLUMNS), 0, -1):
        made = figure.legend(handles=handles, loc=where, ncols=columns, columnspacing=1.3, handlelength=2)
        if columns == 1 or made.get_window_extent().width < figure.bbox.width:
            return
        made.remove()


def entry(name: str, colour: str, **style: Any) -> Any:
    """A line or marker with its name, for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, label=name, **style)


def method_legend(
    figure: Figure, methods: Sequence[MethodView], looks: Looks, where: str = "outside upper center", *,
    markers: bool = True,
) -> None:  # fmt: skip
    """The methods; of many that a grid made, its families."""
    families = by_family(methods)
    named = [([method], method.label) for method in methods]
    if len(methods) > MOST_NAMED and len(families) < len(methods):
        named = [(ms, family if len(ms) > 1 else ms[0].label) for family, ms in families.items()]
    handles = []
    for members, name in named:
        method = members[len(members) // 2]
        look = looks[method.name]
        marker = look.marker if markers and not method.joint and len(members) == 1 else ""
        handles.append(entry(name, look.colour, linestyle=look.line, marker=marker))
    legend(figure, handles, where)


def family_colours(methods: Sequence[MethodView], looks: Looks) -> dict[str, str]:
    """The colour of each family: that of its middle method."""
    families = by_family(methods).items()
    return {family: looks[members[len(members) // 2].name].colour for family, members in families}


def method_rows(axes: Axes, methods: Sequence[MethodView]) -> None:
    """Let each method have a row, the first on top."""
    axes.set_yticks(range(len(methods)), [method.label for method in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def points_on_x(axes: Axes) -> None:
    """Where nothing differs from zero by a point, matplotlib would show hundredths of one."""
    if max(map(abs, axes.get_xlim())) < 1:
        axes.set_xlim(-1, 1)


def cross(axes: Axes, x: Estimate, y: Estimate, look: Look, size: float = 8, width: float = 1.3) -> None:
    """A point with an interval in both directions; nothing where either is missing."""
    if np.isnan(x.value) or np.isnan(y.value):
        return
    axes.errorbar(
        100 * x.value, 100 * y.value, xerr=arms(x), yerr=arms(y), color=look.colour, marker=look.marker,
        markersize=size, elinewidth=width, capsize=0,
    )  # fmt: skip


def arms(*estimates: Estimate, scale: float = 100) -> np.ndarray:
    """Lengths of error bars below and above; never negative (a skewed interval may leave its value out)."""
    ends = [(one.value - one.low, one.high - one.value) for one in estimates]
    return scale * np.maximum(np.nan_to_num(np.array(ends).T), 0.0)


def heat(
    axes: Axes, x: np.ndarray, y: np.ndarray, shares_YX: np.ndarray, colours: Sequence[str],
    written: Callable[[int, int], str], outlined: Collection[tuple[int, int]] = (),
) -> None:  # fmt: skip
    """Cells in the colour of their share of the most; hatched where there is none."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    scale = LinearSegmentedColormap.from_list("heat", list(colours))
    for row, column in np.ndindex(shares_YX.shape):
        share, corner = shares_YX[row, column], (float(x[column]) - 0.5, float(y[row]) - 0.5)
        if np.isnan(share):
            axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor=GRID, lw=0.6, hatch="////"))
            continue
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=scale(share), edgecolor="#ffffff", linewidth=0.4))
        if marked := (row, column) in outlined:
            inner = (corner[0] + 0.05, corner[1] + 0.05)
            axes.add_patch(Rectangle(inner, 0.9, 0.9, facecolor="none", edgecolor="#e8590c", linewidth=1.5))
        axes.text(
            corner[0] + 0.5, corner[1] + 0.5, written(row, column), ha="center", va="center_baseline",
            fontsize=scaled(7.5), fontweight="bold" if marked else "normal",
            color="#ffffff" if share > 0.55 else "#14212b", in_layout=False,
        )  # fmt: skip
    axes.set_xlim(-0.5, x[-1] + 0.5)
    axes.set_ylim(y[-1] + 0.5, -0.5)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=3)
    axes.grid(False)
    axes.spines[:].set_visible(False)
