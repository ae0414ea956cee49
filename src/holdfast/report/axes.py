"""Methods made by a grid, ordered along its axes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.report.analysis import Analysis, MethodView
from holdfast.report.table import Column, Table, Value
from holdfast.report.tables import METHOD, label, seeds
from holdfast.settings import value_text

LONGEST = 24  # characters of a value on an axis


@dataclass(frozen=True)
class Axis:
    """A setting that a grid varies.

    Attributes:
        name: its key in the experiment file.
        values: in order: numbers by size, others as they appear.
        ordered: they are numbers.
        logarithmic: all are above 0, so their ratios are what matters.
    """

    name: str
    values: tuple[Any, ...]
    ordered: bool
    logarithmic: bool

    def position(self, value: Any) -> float:
        """Where the value stands on a drawn axis."""
        return float(value) if self.logarithmic else float(self.values.index(value))


@dataclass(frozen=True)
class Series:
    """Methods that differ in their value on one axis alone."""

    family: str
    others: tuple[tuple[str, Any], ...]  # (other axis, value)
    methods: tuple[MethodView, ...]  # in the order of the axis

    @property
    def name(self) -> str:
        return ", ".join([self.family, *(f"{axis} {shown(value)}" for axis, value in self.others)])


def axes_of(analysis: Analysis) -> list[Axis]:
    """Every axis on which methods of one family differ."""
    names = dict.fromkeys(name for method in analysis.methods for name in method.axes)
    axes = [_axis(name, [m.axes[name] for m in analysis.methods if name in m.axes]) for name in names]
    return [axis for axis in axes if len(axis.values) > 1]


def series_along(axis: Axis, methods: Sequence[MethodView]) -> list[Series]:
    """The methods that have this axis, as lines along it, families in order of appearance."""
    grouped: dict[tuple[str, tuple[tuple[str, Any], ...]], list[MethodView]] = {}
    for method in methods:
        if axis.name in method.axes:
            others = tuple(plain_items({k: v for k, v in method.axes.items() if k != axis.name}))
            grouped.setdefault((method.family, others), []).append(method)
    found = [
        Series(family, others, tuple(sorted(members, key=lambda m: axis.position(plain(m.axes[axis.name])))))
        for (family, others), members in grouped.items()
    ]
    order = list(dict.fromkeys(method.family for method in methods))
    return sorted(found, key=lambda series: order.index(series.family))  # stable: the rest as it appears


def axis_table(analysis: Analysis, axis: Axis) -> Table:
    """The measures along one axis, families one below the other."""
    others = [other for other in axes_of(analysis) if other.name != axis.name]
    columns = [
        Column("family", "Family", help="the method whose setting varies"),
        *(Column(f"setting_{other.name}", other.name) for other in others),
        Column(f"setting_{axis.name}", axis.name),
        METHOD,
        Column("seeds", "Seeds", help="finished seeds, of those started"),
        Column("avg_acc", "AvgAcc", "points"),
        Column("fm", "FM", "change"),
        Column("bwt", "BWT", "change"),
        Column("plasticity", "Plasticity", "points"),
        Column("general", "General", "change"),
    ]
    if not analysis.results.general:
        columns.pop()
    rows: list[dict[str, Value]] = []
    classes = {}
    for series in series_along(axis, analysis.methods):
        if rows and rows[-1]["family"] != series.family:
            classes[len(rows)] = "next"
        for method in series.methods:
            row: dict[str, Value] = {"family": series.family, "method": label(method)}
            row |= {f"setting_{name}": shown(value) for name, value in method.axes.items()}
            row |= {"seeds": seeds(method)}
            rows.append(row | {name: method.measure(name) for name in method.draws.measures})
    note = "Percentage points, mean over seeds [95 % interval]. Settings that do not vary are left out."
    name = "along_" + re.sub(r"[^\w.-]+", "_", axis.name)
    return Table(name, f"Along {axis.name}", columns, rows, note, classes)


def axis_tables(analysis: Analysis) -> dict[str, Table]:
    return {table.name: table for table in (axis_table(analysis, axis) for axis in axes_of(analysis))}


def shown(value: Any) -> str:
    """A setting as short text."""
    if isinstance(value, Mapping):
        value = tuple(value.values())
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value_text(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _axis(name: str, values: Sequence[Any]) -> Axis:
    distinct = list(dict.fromkeys(map(plain, values)))
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in distinct)
    if numbers:
        distinct.sort()
    return Axis(name, tuple(distinct), numbers, numbers and min(distinct) > 0)


def plain(value: Any) -> Any:
    """The value in a form that can be looked up."""
    if isinstance(value, Mapping):
        return tuple(plain_items(value))
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value


def plain_items(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, plain(value)) for name, value in values.items()]
