"""Reliance on the picture: what is still right without it, just after training and at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from holdfast.analysis.regularisation import mean_of
from holdfast.analysis.results import MethodRun, Results
from holdfast.analysis.views import Analysis
from holdfast.report.rows import METHOD, Row
from holdfast.report.section import Section
from holdfast.report.table import Column, Table
from holdfast.tasks.scoring import RIGHT


def section(analysis: Analysis) -> Section:
    return Section("reliance", "Reliance on the picture", "Reliance", [reliance(analysis)])


def reliance(analysis: Analysis) -> Table:
    """Old tasks: how much the picture is worth just after training on a task, and at the end."""
    rows: list[Row] = []
    for method in analysis.methods:
        found = [entry for run in method.runs for entry in compared(analysis.results, run)]
        if not found:
            continue
        at = {key: np.array([entry[key] for entry in found]) for key in found[0]}
        row: Row = {"method": method.label}
        row |= {key: float(at[key].mean()) for key in ("just", "just_without", "end", "end_without")}
        row["change"] = mean_of((at["end"] - at["end_without"]) - (at["just"] - at["just_without"]), -2, 2)
        row["hidden"] = mean_of(at["hidden"], 0, 1)
        rows.append(row)
    columns = [
        METHOD,
        Column("just", "Just trained", "points"),
        Column("just_without", "Without picture", "points"),
        Column("end", "End", "points"),
        Column("end_without", "Without picture", "points"),
        Column("change", "Reliance, change", "change", "of accuracy with minus accuracy without the picture"),
        Column("hidden", "Hidden forgetting", "points", "right at both times, but no longer for the picture"),
    ]
    note = (
        "Accuracy, %, on the same items, mean over old tasks and seeds [95 % interval over these, too short "
        "where they are few]. Hidden forgetting: items that are right just after training and at the end, "
        "and that only at the end are right without the picture, too."
    )
    return Table("reliance", "Reliance on the picture", columns, rows, note, tight=True)


def compared(results: Results, run: MethodRun) -> list[dict[str, float]]:
    """Each old task's accuracies with and without pictures, just after training on it and at the end."""
    order, stages, found = results.order_of(run), run.measured("reliance"), []
    for stage, task in enumerate(order[:-1] if not run.joint else (), start=1):
        moments = [_scores(run, stages, moment, task) for moment in (stage, len(order))]
        if not all(moments):
            continue
        (just, just_without), (end, end_without) = (np.array(moment) for moment in moments)
        kept = (just >= RIGHT) & (end >= RIGHT)
        hidden = kept & (just_without < RIGHT) & (end_without >= RIGHT)
        found.append(
            {
                "just": just.mean(), "just_without": just_without.mean(), "end": end.mean(),
                "end_without": end_without.mean(), "hidden": hidden.mean(),
            }
        )  # fmt: skip
    return found


def _scores(run: MethodRun, stages: Mapping[int, dict[str, Any]], stage: int, task: str) -> list[list[float]]:
    """Of the same items with and without their pictures; [] where either is missing."""
    without = [row["scores"] for row in stages.get(stage, {"rows": ()})["rows"] if row["task"] == task]
    records = run.cells.get((stage, task))
    if not without or not records:
        return []
    return [[record["score"] for record in records[: len(without[0])]], without[0]]
