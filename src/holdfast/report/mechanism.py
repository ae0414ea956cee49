"""Tables on why: implicit regularisation, selective updates, and the re-alignment probe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from holdfast.forgetting.bootstrap import combine_seeds, estimate
from holdfast.forgetting.regularisation import (
    BINS,
    CLAIMS,
    Fit,
    Instance,
    bin_of,
    fit,
    instances_of,
    mean_by_bin,
    mean_of,
    recovery,
)
from holdfast.forgetting.results import MethodRun, Results
from holdfast.report.analysis import Analysis, MethodView
from holdfast.report.table import MISSING, Column, Table, Value, number
from holdfast.report.tables import METHOD, label

# What one instance would do to the weights: key of its norm and of its effect -> name.
UPDATES = (
    ("sft_answer", "SFT, answer"),
    ("sft_reasoned", "SFT, reasoned"),
    ("group", "RFT"),
    ("group_std", "RFT, divided by std"),
)

# Objectives whose advantages are all zero where a prompt's samples have one reward. Without a baseline
# (reinforce), or with that of the greedy answer (remax), such a prompt may push.
GROUP_BASELINED = ("grpo", "rloo")


def risk_table(analysis: Analysis) -> Table:
    """The variance identity fitted over the policies of all methods."""
    instances = instances_of([run for method in analysis.methods for run in method.runs])
    rows = [_risk_row(found) for claim in CLAIMS if (found := fit(claim, instances))]
    note = (
        "Risk of an instance's gradient g is gᵀFg, F the Fisher information of the earlier tasks. The study "
        "(arXiv 2507.05386) says that RFT's is the reward variance times SFT's: a slope of 1. Dividing "
        "advantages by their standard deviation takes the variance out again. [95 % interval, instances "
        "resampled.]"
    )
    return Table("risk", "Is RFT's risk SFT's, damped by the reward variance?", _risk_columns(), rows, note)


def risk_by_method(analysis: Analysis) -> Table:
    """The identity, without and with division by std, for the policies of each method."""
    rows: list[dict[str, Value]] = []
    for method in measured_risk(analysis):
        instances = instances_of(method.runs)
        found = [fit(claim, instances) for claim in (CLAIMS[0], CLAIMS[3])]
        rows += [_risk_row(one) | {"method": label(method)} for one in found if one]
    note = "At the policies of each method before a stage. [95 % interval, instances resampled.]"
    columns = [METHOD, *_risk_columns()]
    return Table("risk_by_method", "The same for each method's policies", columns, rows, note)


def _risk_columns() -> list[Column]:
    return [
        Column("claim", "Risk to earlier tasks"),
        Column("instances", "Instances", "count"),
        Column("live", "Rewards differ", "count", "instances with any reward variance: those fitted"),
        Column("slope", "Slope", "coefficient", "through the origin; 1 where the relation holds"),
        Column("rho", "Spearman", "coefficient", "rank correlation, −1 to 1"),
        Column("r2", "R²", "coefficient", "of the line through the origin; may be below 0"),
    ]


def _risk_row(found: Fit) -> dict[str, Value]:
    return {
        "claim": found.claim.name,
        "instances": found.instances,
        "live": found.live,
        "slope": found.slope,
        "rho": found.rho,
        "r2": found.r2,
    }


_QUANTITIES = [
    (f"{quantity}_{key}", f"{quantity}, {name}")
    for quantity in ("norm", "effect", "risk")
    for key, name in UPDATES
]


def selective_table(analysis: Analysis) -> Table:
    """Norm, one-step effect and risk of one instance's update, by whose policy it is at and its pass rate."""
    rows: list[dict[str, Value]] = []
    for family in dict.fromkeys(method.family for method in analysis.methods):
        instances = instances_of(
            [run for method in analysis.methods if method.family == family for run in method.runs]
        )
        if not instances:
            continue
        bins: list[dict[str, Value]] = [
            {"family": family, "pass_rate": name, "instances": count}
            for name, count in zip(BINS, count_bins(instances), strict=True)
        ]
        for key, _ in _QUANTITIES:
            for row, mean in zip(bins, mean_by_bin(instances, key), strict=True):
                row[key] = mean
        rows += bins
    columns = [
        Column("family", "Policies of"),
        Column("pass_rate", "Pass rate"),
        Column("instances", "Instances", "count"),
        *(
            Column(key, heading, "digits")
            for key, heading in _QUANTITIES
            if any(number(row[key], "digits") != MISSING for row in rows)
        ),
    ]
    note = (
        "Mean over instances [95 % interval, instances resampled], at the policies of each method before its "
        "stages. Norm: length of the gradient of one instance. Effect: how fast a step on it raises the mean "
        "log-probability of right answers to earlier tasks, to first order, per unit of learning rate; "
        "negative is forgetting. Risk: gᵀFg, in units of the mean risk of SFT on bare answers at the policy."
    )
    return Table("selective", "What one instance does, by its pass rate", columns, rows, note)


def zero_advantage_table(analysis: Analysis) -> Table:
    """Share of prompts whose samples all had the same reward, per method of GRPO and RLOO."""
    rows: list[dict[str, Value]] = []
    for method in analysis.methods:
        if method.objective not in GROUP_BASELINED:
            continue
        seeds = [zero_shares(run) for run in method.runs]
        seeds = [shares for shares in seeds if shares]
        if seeds:
            row: dict[str, Value] = {"method": label(method)}
            row |= {"first": _mean_of_seeds([shares[0] for shares in seeds])}
            row |= {"last": _mean_of_seeds([shares[-1] for shares in seeds])}
            rows.append(row | {"mean": _mean_of_seeds([float(np.mean(shares)) for shares in seeds])})
    columns = [
        METHOD,
        Column("first", "First stage", "points"),
        Column("last", "Last stage", "points"),
        Column("mean", "All stages", "points"),
    ]
    note = (
        "Share of prompts, %, whose samples all had the same reward, so that GRPO and RLOO, which compare "
        "a sample with the others of its prompt, had nothing to push by. Mean over seeds [95 % interval "
        "over these]. A KL penalty, where there is one, acts on such prompts too."
    )
    return Table("zero_advantage", "Prompts without an advantage", columns, rows, note)


def zero_shares(run: MethodRun) -> list[float]:
    """Mean share of prompts with equal rewards in each stage that recorded it."""
    stages = [
        [row["zero_variance"] for row in rows if row.get("zero_variance") is not None] for rows in run.curves
    ]
    return [float(np.mean(values)) for values in stages if values]


def probe_table(analysis: Analysis) -> Table:
    """Old tasks just after training, at the end and after the probe; what share of the loss came back."""
    rows: list[dict[str, Value]] = []
    for method in analysis.methods:
        found = [entry for run in method.runs for entry in _probed(analysis.results, run)]
        if not found:
            continue
        just, end, after = (np.array([entry[key] for entry in found]) for key in ("just", "end", "after"))
        row: dict[str, Value] = {"method": label(method), "just": just.mean(), "end": end.mean()}
        row |= {"after": after.mean(), "lost": mean_of(end - just), "back": mean_of(after - end)}
        row["share"] = recovery(np.stack([just - end, after - end], axis=1))
        for key in ("recovered", "lost_again", "examples", "steps"):
            row[key] = float(np.mean([entry[key] for entry in found]))
        rows.append(row)
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
        "comes back by that was not lost but out of reach. Accuracy, %, mean over old tasks and seeds [95 % "
        "interval over these]. The three accuracies and the counts are plain means: tasks differ so much "
        "that their intervals would hide what those of the changes show."
    )
    return Table("probe", "Re-alignment probe", columns, rows, note)


def probe_by_task(analysis: Analysis) -> Table:
    """The probe on each old task."""
    rows: list[dict[str, Value]] = []
    for method in analysis.methods:
        found = [entry for run in method.runs for entry in _probed(analysis.results, run)]
        for task in analysis.results.sequence:
            these = [entry for entry in found if entry["task"] == task]
            if these:
                row: dict[str, Value] = {"method": label(method), "task": task}
                rows.append(
                    row | {k: float(np.mean([e[k] for e in these])) for k in ("just", "end", "after")}
                )
    columns = [
        METHOD,
        Column("task", "Task"),
        Column("just", "Just trained", "points"),
        Column("end", "End", "points"),
        Column("after", "After the probe", "points"),
    ]
    return Table(
        "probe_by_task", "Re-alignment probe, per task", columns, rows, "Accuracy, %, mean over seeds."
    )


def count_bins(instances: Sequence[Instance]) -> list[int]:
    bins = [bin_of(row["pass_rate"]) for row in instances]
    return [bins.count(index) for index in range(len(BINS))]


def _probed(results: Results, run: MethodRun) -> list[dict[str, float]]:
    """Rows of the probe with the accuracy just after training on their task, on the items it judged by."""
    order, found = results.order_of(run), []
    for row in run.probe:
        records = run.cells.get((order.index(row["task"]) + 1, row["task"]))
        if records:
            same = records[: row.get("items", len(records))]  # a probe may judge by the first few alone
            just = float(np.mean([record["score"] for record in same]))
            found.append({**row, "just": just, "end": row["before"]})
    return found


def _mean_of_seeds(values: Sequence[float]) -> Value:
    if len(values) == 1:
        return values[0]
    return estimate(combine_seeds(np.repeat(np.array(values)[:, None], 1001, axis=1))).within(0.0, 1.0)


def mechanism_tables(analysis: Analysis) -> list[Table]:
    """All of them, in reading order."""
    return [
        risk_table(analysis),
        risk_by_method(analysis),
        selective_table(analysis),
        zero_advantage_table(analysis),
        probe_table(analysis),
        probe_by_task(analysis),
    ]


def measured_risk(analysis: Analysis) -> list[MethodView]:
    """Methods whose policies' risks were measured."""
    return [method for method in analysis.methods if instances_of(method.runs)]
