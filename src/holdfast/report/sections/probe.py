"""The re-alignment probe: how much of what was lost a few steps bring back."""

from __future__ import annotations

import numpy as np

from holdfast.analysis.regularisation import mean_of, recovery
from holdfast.analysis.results import MethodRun, Results
from holdfast.analysis.views import Analysis
from holdfast.report.rows import METHOD, TASK, Row
from holdfast.report.section import Section
from holdfast.report.table import Column, Table

MOMENTS, COUNTS = ("just", "end", "after"), ("recovered", "lost_again", "examples", "steps")


def section(analysis: Analysis) -> Section:
    return Section("probe", "Re-alignment probe", "Probe", [probe_table(analysis), probe_by_task(analysis)])


def probe_table(analysis: Analysis) -> Table:
    """Old tasks just after training, at the end and after the probe; what share of the loss came back."""
    rows: list[Row] = []
    for method in analysis.methods:
        found = [entry for run in method.runs for entry in _probed(analysis.results, run)]
        if not found:
            continue
        at = {key: np.array([entry[key] for entry in found]) for key in (*MOMENTS, *COUNTS)}
        row: Row = {"method": method.label} | {key: float(values.mean()) for key, values in at.items()}
        back = at["after"] - at["end"]
        row |= {"lost": mean_of(at["end"] - at["just"], -1, 1), "back": mean_of(back, -1, 1)}
        rows.append(row | {"share": recovery(np.stack([at["just"] - at["end"], back], axis=1))})
    columns = [
        METHOD,
        Column("just", "Just trained", "points"),
        Column("end", "End", "points"),
        Column("after", "After probe", "points"),
        Column("lost", "Lost", "change", "end minus just trained"),
        Column("back", "Came back", "change", "after the probe minus end"),
        Column("share", "Share back", "points", "of the loss; – where no loss is shown"),
        Column("recovered", "Mended", "real", "items wrong before the probe and right after, per task"),
        Column("lost_again", "Broken", "real", "items right before the probe and wrong after, per task"),
        Column("examples", "Examples", "count", "of an old task, per probe"),
        Column("steps", "Steps", "count", "per probe"),
    ]
    note = (
        "A few SFT steps on a handful of examples of each old task, on a copy of the final policy. What "
        "comes back by so little was out of reach rather than lost, unless these steps taught it anew: there "
        "is no control for that. Accuracy, %, mean over old tasks and seeds [95 % interval over these, too "
        "short where they are few]. The three accuracies and the counts are plain means: tasks differ so "
        "much that their intervals would hide what those of the changes show."
    )
    return Table("probe", "Re-alignment probe", columns, rows, note, tight=True)


def probe_by_task(analysis: Analysis) -> Table:
    """The probe on each old task."""
    rows: list[Row] = []
    for method in analysis.methods:
        found = [entry for run in method.runs for entry in _probed(analysis.results, run)]
        for task in analysis.results.sequence:
            these = [entry for entry in found if entry["task"] == task]
            if these:
                means = {key: float(np.mean([one[key] for one in these])) for key in MOMENTS}
                rows.append({"method": method.label, "task": task, **means})
    columns = [
        METHOD,
        TASK,
        Column("just", "Just trained", "points"),
        Column("end", "End", "points"),
        Column("after", "After the probe", "points"),
    ]
    title, note = "Re-alignment probe, per task", "Accuracy, %, mean over seeds."
    return Table("probe_by_task", title, columns, rows, note, tight=True, fold=True)


def _probed(results: Results, run: MethodRun) -> list[dict[str, float]]:
    """Rows of the probe with the accuracy just after training on their task, on the items it judged by."""
    order, found = results.order_of(run), []
    for row in [row for probe in run.measured("probe").values() for row in probe["rows"]]:
        records = run.cells.get((order.index(row["task"]) + 1, row["task"]))
        if records:
            same = records[: row.get("items", len(records))]  # a probe may judge by the first few alone
            just = float(np.mean([record["score"] for record in same]))
            found.append({**row, "just": just, "end": row["before"]})
    return found
