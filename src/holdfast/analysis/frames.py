"""Results as pandas frames: every record, cell and metric of an experiment, one row each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from holdfast.analysis.matrix import run_matrices
from holdfast.analysis.metrics import metrics_of

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.analysis.results import Record, Results


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
    rows = (where | record for where, cell in _cells(results) for record in cell)
    return _frame(rows, (*_CELL, *_RECORD))


def cells(results: Results) -> pd.DataFrame:
    """A row for each cell: method, seed, stage, trained_on, task, style, accuracy (0..1), items."""
    rows = (
        where | {"accuracy": sum(record["score"] for record in cell) / len(cell), "items": len(cell)}
        for where, cell in _cells(results)
        if cell
    )
    return _frame(rows, (*_CELL, "accuracy", "items"))


def metrics(results: Results) -> pd.DataFrame:
    """A row for each method and seed: its value on each axis of a grid, and the metrics (0..1, or NaN)."""
    rows = []
    axes = dict.fromkeys(name for run in results.runs for name in run.axes)
    for run in results.runs:
        found = metrics_of(*run_matrices(run, results), joint=run.joint).items()
        where = {"method": run.method, "seed": run.seed} | axes | dict(run.axes)
        rows.append(where | {name: float(value) for name, value in found})
    return _frame(rows)


def _cells(results: Results) -> Iterator[tuple[dict[str, Any], list[Record]]]:
    """The records of every cell, behind where it stands: the columns of `_CELL`."""
    for run in (*results.runs, *results.other_style):
        trained_on = (None, *(("all",) if run.joint else results.order_of(run)))
        for (stage, task), cell in sorted(run.cells.items()):
            where = (run.method, run.seed, stage, trained_on[stage], task, run.style)
            yield dict(zip(_CELL, where, strict=True)), cell


def _frame(rows: Iterable[dict[str, Any]], usual: tuple[str, ...] = ()) -> pd.DataFrame:
    """The rows as a frame.

    Args:
        usual: the columns where there is no row yet, so that what looks for one finds it.
    """
    import pandas as pd

    found = list(rows)
    return pd.DataFrame(found) if found else pd.DataFrame(columns=list(usual))
