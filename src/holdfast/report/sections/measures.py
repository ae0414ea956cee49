"""Measures of the user's own: every number, by method and stage. Ours have sections."""

from __future__ import annotations

from holdfast.analysis.views import Analysis
from holdfast.measures import KINDS
from holdfast.report.rows import METHOD, Row, mean
from holdfast.report.section import Section
from holdfast.report.table import Column, Table


def section(analysis: Analysis) -> Section:
    names = dict.fromkeys(name for run in analysis.results.runs for name in run.measures)
    tables = [numbers(analysis, name) for name in names if name not in KINDS]
    return Section("measures", "Measures of your own", "Own measures", tables)


def numbers(analysis: Analysis, name: str) -> Table:
    """What one measure found: mean over the seeds that have a number, by method and stage."""
    rows: list[Row] = []
    for method in analysis.methods:
        found = [run.measured(name) for run in method.runs]
        for stage in sorted({stage for measured in found for stage in measured}):
            here = [measured[stage] for measured in found if stage in measured]
            row: Row = {"method": method.label, "stage": stage}
            for key in dict.fromkeys(key for one in here for key in one if key != "seconds"):
                row[key] = mean(one.get(key) for one in here)
            rows.append(row)
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = [METHOD, Column("stage", "Stage", "count")]
    columns += [Column(key, key, "digits") for key in keys if key not in ("method", "stage")]
    return Table(f"measure_{name}", name, columns, rows, "Mean over seeds.", tight=True)
