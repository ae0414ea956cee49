"""Names beside the points of a figure, where neither other names nor other points stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 2.0  # points between a marker and its name
FARTHER = (0, 9, 18, 28, 40)  # points more, with a line to the marker
# Of a name's middle from the marker, in half sizes of both; the first that is free is taken.
SIDES = ((1, 0.6), (1, -0.6), (-1, 0.6), (-1, -0.6), (0, 1), (0, -1), (1, 0), (-1, 0))


class Box(NamedTuple):
    """A part of a figure, in pixels."""

    left: float
    bottom: float
    right: float
    top: float


class Offset(NamedTuple):
    """Where the middle of a name stands from its marker, and how much farther than it need be, in pixels."""

    across: float
    up: float
    farther: float


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
    scale = axes.figure.dpi / 72
    at = axes.transData.transform(np.array(places))
    markers = [_box(x, y, size * scale, size * scale) for (x, y), size in zip(at, sizes, strict=True)]
    taken: list[Box] = []
    for number in sorted(range(len(names)), key=lambda one: -at[one][1]):  # from above
        text = axes.annotate(
            names[number], places[number], (0, 0), textcoords="offset points", size="x-small",
            ha="center", va="center", in_layout=False,
        )  # fmt: skip
        extent = text.get_window_extent()
        wide, high = extent.width, extent.height * 0.9
        boxes = {
            offset: _box(at[number][0] + offset.across, at[number][1] + offset.up, wide, high)
            for offset in _offsets(wide, high, sizes[number], scale)
        }
        others = [*taken, *(box for one, box in enumerate(markers) if one != number)]
        offset = _freest(boxes, wide * high, others, Box(*axes.bbox.extents))
        taken.append(boxes[offset])
        stands = (offset.across / scale, offset.up / scale)
        text.set_position(stands)
        if offset.farther:
            line = {"arrowstyle": "-", "linewidth": 0.5, "color": colours[number], "shrinkA": 0, "shrinkB": 0}
            axes.annotate(
                "", places[number], stands, textcoords="offset points", arrowprops=line, in_layout=False,
                zorder=1,
            )  # fmt: skip


def _offsets(wide: float, high: float, size: float, scale: float) -> Iterator[Offset]:
    """Where a name of this size may stand from a marker of so many points, nearest first."""
    for farther in FARTHER:
        away = (size / 2 + GAP + farther) * scale
        for across, up in SIDES:
            aside = wide / 2 + away * (0.7 if up else 1)
            yield Offset(across * aside, up * (high / 2 + 0.7 * away), farther * scale)


def _freest(boxes: Mapping[Offset, Box], area: float, others: Sequence[Box], inside: Box) -> Offset:
    """The first of these boxes that is free and inside; else the one that is so most, and near."""
    least = {}
    for offset, box in boxes.items():
        over = sum(_shared(box, other) for other in others) + area - _shared(box, inside)
        least[offset] = over + offset.farther
        if not over:
            break
    return min(least, key=least.__getitem__)


def _box(x: float, y: float, wide: float, high: float) -> Box:
    return Box(x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)


def _shared(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    wide = min(one.right, other.right) - max(one.left, other.left)
    high = min(one.top, other.top) - max(one.bottom, other.bottom)
    return max(wide, 0.0) * max(high, 0.0)
