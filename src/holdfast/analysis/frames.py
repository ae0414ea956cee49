"""Results as pandas frames: every record, cell and metric of an experiment, one row each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from holdfast.analysis.matrix import run_matrices
from holdfast.analysis.metrics import measure

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.analysis.results import MethodRun, Results


_CELL = ("method", "seed", "stage", "trained_on", "task", "style")
_RECORD = (  # of an item, as evaluations write it
    *("id", "prompt", "response", "answer", "reference"),
    *("score", "lenient", "format", "tokens", "finished", "meta"),
)


def records(results: Results) -> pd.DataFrame:
    """A row for each evaluated item of each cell.

    Columns: method, seed, stage (0: the base), trained_on (what the stage trained on), task, style, and the
    fields of a record.
    """
    rows = (
        {**_where(results, run, stage), "task": task, "style": run.style, **record}
        for run in (*results.runs, *results.other_style)
        for (stage, task), cell in sorted(run.cells.items())
        for record in cell
    )
    return _frame(rows, (*_CELL, *_RECORD))


def cells(results: Results) -> pd.DataFrame:
    """A row for each cell: method, seed, stage, trained_on, task, style, accuracy (0..1), items."""
    rows = (
        {
            **_where(results, run, stage),
            "task": task,
            "style": run.style,
            "accuracy": sum(record["score"] for record in cell) / len(cell),
            "items": len(cell),
        }
        for run in (*results.runs, *results.other_style)
        for (stage, task), cell in sorted(run.cells.items())
        if cell
    )
    return _frame(rows, (*_CELL, "accuracy", "items"))


def metrics(results: Results) -> pd.DataFrame:
    """A row for each method and seed: its value on each axis of a grid, and the measures (0..1, or NaN)."""
    rows = []
    axes = dict.fromkeys(name for run in results.runs for name in run.axes)
    for run in results.runs:
        found = measure(*run_matrices(run, results), joint=run.joint).items()
        where = {"method": run.method, "seed": run.seed} | axes | dict(run.axes)
        rows.append(where | {name: float(value) for name, value in found})
    return _frame(rows)


def _where(results: Results, run: MethodRun, stage: int) -> dict[str, Any]:
    trained_on = None
    if stage:
        trained_on = "all" if run.joint else results.order_of(run)[stage - 1]
    return {"method": run.method, "seed": run.seed, "stage": stage, "trained_on": trained_on}


def _frame(rows: Iterable[dict[str, Any]], usual: tuple[str, ...] = ()) -> pd.DataFrame:
    """The rows as a frame.

    Args:
        usual: the columns where there is no row yet, so that what looks for one finds it.
    """
    import pandas as pd

    found = list(rows)
    return pd.DataFrame(found) if found else pd.DataFrame(columns=list(usual))
