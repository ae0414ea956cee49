"""Names beside the points of a figure, where neither other names nor other points stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 2.0  # points between a marker and its name
FARTHER = (0, 9, 18, 28, 40)  # points more, with a line to the marker
# Of a name's middle from the marker, in half sizes of both; the first that is free is taken.
SIDES = ((1, 0.6), (1, -0.6), (-1, 0.6), (-1, -0.6), (0, 1), (0, -1), (1, 0), (-1, 0))
Box = tuple[float, float, float, float]  # left, bottom, right, top; in pixels


def name_points(
    axes: Axes,
    names: Sequence[str],
    places: Sequence[tuple[float, float]],
    sizes: Sequence[float],
    colours: Sequence[str],
) -> None:
    """Write names beside points of a figure that has its final size.

    Args:
        places: of the points, in the axes' units.
        sizes: of their markers, in points.
        colours: of the lines to names that stand apart.
    """
    figure = axes.figure
    scale = figure.dpi / 72
    at = axes.transData.transform(np.array(places))
    markers = [_box(x, y, size * scale, size * scale) for (x, y), size in zip(at, sizes, strict=True)]
    taken: list[Box] = []
    inside = axes.bbox.extents
    for number in sorted(range(len(names)), key=lambda one: -at[one][1]):  # from above
        text = axes.annotate(
            names[number], places[number], (0, 0), textcoords="offset points", size="x-small",
            ha="center", va="center", in_layout=False,
        )  # fmt: skip
        extent = text.get_window_extent()
        wide, high = extent.width, extent.height * 0.9
        others = [*taken, *(box for one, box in enumerate(markers) if one != number)]
        best, least = (0.0, 0.0, 0.0), np.inf
        for dx, dy, farther in _ways(wide, high, sizes[number], scale):
            box = _box(at[number][0] + dx, at[number][1] + dy, wide, high)
            over = sum(_shared(box, other) for other in others) + wide * high - _shared(box, inside)
            if over + farther < least:
                best, least = (dx, dy, farther), over + farther
            if not over:
                break
        dx, dy, farther = best
        text.set_position((dx / scale, dy / scale))
        taken.append(_box(at[number][0] + dx, at[number][1] + dy, wide, high))
        if farther:
            line = {"arrowstyle": "-", "linewidth": 0.5, "color": colours[number], "shrinkA": 0, "shrinkB": 0}
            axes.annotate(
                "", places[number], (dx / scale, dy / scale), textcoords="offset points", arrowprops=line,
                in_layout=False, zorder=1,
            )  # fmt: skip


def _ways(wide: float, high: float, size: float, scale: float) -> Iterator[tuple[float, float, float]]:
    """Where the middle of a name may stand from its marker, and how far apart: in pixels, nearest first."""
    for farther in FARTHER:
        away = (size / 2 + GAP + farther) * scale
        for across, up in SIDES:
            aside = wide / 2 + away * (0.7 if up else 1)
            yield across * aside, up * (high / 2 + 0.7 * away), farther * scale


def _box(x: float, y: float, wide: float, high: float) -> Box:
    return x - wide / 2, y - high / 2, x + wide / 2, y + high / 2


def _shared(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    wide, high = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0.0) * max(high, 0.0)
