"""What the tables of several sections have in common: columns, and a row's first cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from holdfast.analysis.method import MethodView
from holdfast.analysis.views import Analysis
from holdfast.report.table import Column, Value

METHOD = Column("method", "Method")
STYLE = Column("style", "Style", help="prompt style it was trained and judged in")
TASK, WHEN = Column("task", "Task"), Column("when", "When")
SEEDS = Column("seeds", "Seeds", help="finished seeds, of those started")
METRIC_COLUMNS = (
    Column("avg_acc", "AvgAcc", "points"),
    Column("fm", "FM", "change"),
    Column("bwt", "BWT", "change"),
    Column("plasticity", "Plasticity", "points"),
    Column("general", "General", "change"),
)
BASE = "base model"
MANY = 12  # methods from which what has a row or a panel of each starts folded

Row = dict[str, Value]


def named(method: MethodView, **more: Value) -> Row:
    """The first cells of a method's row."""
    return {"method": method.label, "style": method.style, **more}


def base_rows(
    analysis: Analysis, cells: Callable[[MethodView], Row], methods: Sequence[MethodView] | None = None
) -> tuple[list[Row], dict[int, str]]:
    """A row of the base for each prompt style, and their CSS classes.

    `cells` reads them from a method: the base belongs to none, so any that is judged in the style will do.
    """
    styles = analysis.styles(analysis.methods if methods is None else methods)
    rows: list[Row] = [{"method": BASE, "style": style, **cells(source)} for style, source in styles.items()]
    return rows, dict.fromkeys(range(len(rows)), "base")


def strategies_of(analysis: Analysis, method: MethodView) -> dict[str, Mapping[str, Any]]:
    """A method's strategies against forgetting: name (of a class in a user's file, its own) -> settings."""
    settings = analysis.results.settings.get("methods", {}).get(method.name, {})
    given = settings.get("retention") or [] if isinstance(settings, Mapping) else []
    listed = [given] if isinstance(given, Mapping) else given
    return {
        str(one["kind"]).rpartition(":")[2]: {key: value for key, value in one.items() if key != "kind"}
        for one in listed
    }


def metrics(method: MethodView) -> Row:
    """Every metric of a method, with its finished seeds."""
    total, complete = method.draws.seeds, method.draws.complete
    seeds = str(total) if complete == total else f"{complete} of {total}"
    return {"seeds": seeds} | {name: method.metric(name) for name in method.draws.metrics}


def rules(rows: Sequence[Row], key: str) -> dict[int, str]:
    """CSS classes with a rule above each row but the first that has another value under the key."""
    return {at: "next" for at in range(1, len(rows)) if rows[at][key] != rows[at - 1][key]}


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are there; None if none is."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def many(analysis: Analysis) -> bool:
    """Whether there are so many methods that their details start folded."""
    return len(analysis.methods) > MANY
