"""Methods made by a grid, ordered along its axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.analysis.method import MethodView, by_family
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


def axes_of(methods: Sequence[MethodView]) -> list[Axis]:
    """Every axis on which methods of one family differ."""
    names = dict.fromkeys(name for method in methods for name in method.axes)
    axes = [_axis(name, [m.axes[name] for m in methods if name in m.axes]) for name in names]
    return [axis for axis in axes if len(axis.values) > 1]


def series_along(axis: Axis, methods: Sequence[MethodView]) -> list[Series]:
    """The methods that have this axis, as lines along it, families in order of appearance."""
    found = []
    for family, members in by_family(methods).items():
        lines: dict[tuple[tuple[str, Any], ...], list[MethodView]] = {}
        for method in members:
            if axis.name in method.axes:
                others = plain({name: value for name, value in method.axes.items() if name != axis.name})
                lines.setdefault(others, []).append(method)
        for others, line in lines.items():
            line.sort(key=lambda method: axis.position(plain(method.axes[axis.name])))
            found.append(Series(family, others, tuple(line)))
    return found


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
        return tuple((name, plain(one)) for name, one in value.items())
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value
