"""The report's sentences: what the intervals allow to be said, and no more.

Methods are compared with one reference, the first sequential SFT method (or else the first
sequential method). A difference counts as shown when the 95 % interval of the paired difference
leaves zero out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from holdfast.forgetting.bootstrap import Estimate, estimate
from holdfast.forgetting.metrics import resolvable_difference
from holdfast.report.analysis import Analysis, MethodView
from holdfast.report.table import Column, Kind, Table, Value, text

# measure -> (topic, name, then for a method above and below the one it is compared with: a word that
# goes before a list of methods, and a verb)
QUESTIONS = {
    "fm": ("Forgetting", "FM", ("less", "forgot less than"), ("more", "forgot more than")),
    "general": (
        "General ability",
        "general change",
        ("better kept", "kept more general ability than"),
        ("worse kept", "kept less general ability than"),
    ),
    "avg_acc": ("Final accuracy", "AvgAcc", ("higher", "ended higher than"), ("lower", "ended lower than")),
}


@dataclass(frozen=True)
class Finding:
    """One thing the results say, under a topic."""

    topic: str
    text: str


def difference(method: MethodView, reference: MethodView, measure: str) -> Estimate:
    """`method` minus `reference`; both were resampled with the same items, so it is paired."""
    return estimate(method.draws.measures[measure] - reference.draws.measures[measure])


def reference_method(analysis: Analysis) -> MethodView | None:
    """What the others are compared with."""
    finished = [method for method in analysis.sequential if method.draws.complete]
    return next(
        (method for method in finished if method.objective == "sft"), finished[0] if finished else None
    )


def findings(analysis: Analysis) -> list[Finding]:
    """What can be said, the most important first."""
    reference = reference_method(analysis)
    if reference is None:
        if analysis.sequential:
            note = "No method has finished its sequence, so nothing can be said about forgetting yet."
        else:
            note = "No method learned the tasks one after another, so there was nothing to forget."
        return [Finding("Forgetting", note), *_joint(analysis)]
    others = [method for method in analysis.sequential if method is not reference and method.draws.complete]
    measures = [measure for measure in QUESTIONS if not np.isnan(reference.measure(measure).value)]
    if not others:
        found = [_alone(reference, measures)]
    elif len(others) == 1:
        found = [_compare_two(others[0], reference, measure) for measure in measures]
    else:
        found = [_compare_many(others, reference, measure) for measure in measures]
    return found + _unequal_learning(reference, others) + _joint(analysis)


def _alone(method: MethodView, measures: list[str]) -> Finding:
    parts = [
        f"{QUESTIONS[measure][1]} {text(method.measure(measure), _kind(measure))}" for measure in measures
    ]
    learned = text(method.measure("learned"), "change")
    return Finding(
        "Forgetting", f"{method.name} learned {learned} points over the base and ended with {_list(parts)}."
    )


def _compare_two(method: MethodView, reference: MethodView, measure: str) -> Finding:
    topic, name, (_, above), (_, below) = QUESTIONS[measure]
    gap = difference(method, reference, measure)
    ours, theirs = (text(one.measure(measure), _kind(measure)) for one in (method, reference))
    if gap.shown:
        said = f"{method.name} {above if gap.value > 0 else below} {reference.name}"
    else:
        said = f"No difference shown between {method.name} and {reference.name}"
    return Finding(topic, f"{said}: {name} {ours} against {theirs}; difference {text(gap, 'change')}.")


def _compare_many(others: list[MethodView], reference: MethodView, measure: str) -> Finding:
    topic, name, (above, _), (below, _) = QUESTIONS[measure]
    said: dict[str, list[str]] = {above: [], below: [], "": []}
    for method in others:
        gap = difference(method, reference, measure)
        word = (above if gap.value > 0 else below) if gap.shown else ""
        said[word].append(f"{method.name} ({text(gap, 'change')})")
    parts = [f"{word} with {_list(said[word])}" for word in (above, below) if said[word]]
    if said[""]:
        parts.append(f"no difference shown for {_list(said[''])}")
    theirs = f"{name} {text(reference.measure(measure), _kind(measure))}"
    return Finding(topic, f"Compared with {reference.name} ({theirs}): {'; '.join(parts)}.")


def _unequal_learning(reference: MethodView, others: list[MethodView]) -> list[Finding]:
    """A method that learned less had less to forget, which a comparison of forgetting must say."""
    gaps = {method.name: difference(method, reference, "learned") for method in others}
    unequal = [f"{name} by {text(gap, 'change')}" for name, gap in gaps.items() if gap.shown]
    if not unequal:
        return []
    return [
        Finding(
            "Unequal learning",
            f"Accuracy just after training differs from {reference.name}'s: {_list(unequal)} points. "
            "Who learns less has less to forget, so read forgetting together with learning.",
        )
    ]


def _joint(analysis: Analysis) -> list[Finding]:
    joint = [method for method in analysis.joint if method.draws.complete]
    finished = [method for method in analysis.sequential if method.draws.complete]
    if not joint:
        return []
    said = _list([f"{method.name} reached AvgAcc {_avg_acc(method)}" for method in joint])
    if finished:
        best = max(finished, key=lambda method: method.measure("avg_acc").value)
        said += f"; the best sequential method is {best.name} with {_avg_acc(best)}"
    return [Finding("All tasks at once", f"{said}.")]


def _avg_acc(method: MethodView) -> str:
    return text(method.measure("avg_acc"), "points")


def _kind(measure: str) -> Kind:
    return "points" if measure == "avg_acc" else "change"


def differences(analysis: Analysis) -> Table | None:
    """Every sequential method minus the reference, on the same items; None with nothing to compare."""
    reference = reference_method(analysis)
    others = [m for m in analysis.sequential if m is not reference and m.draws.complete]
    if reference is None or not others:
        return None
    names = {"avg_acc": "AvgAcc", "fm": "FM", "bwt": "BWT", "plasticity": "Plasticity", "general": "General"}
    shown = [name for name in names if not np.isnan(reference.measure(name).value)]
    rows: list[dict[str, Value]] = []
    for method in others:
        row: dict[str, Value] = {"method": method.name}
        rows.append(row | {name: difference(method, reference, name) for name in shown})
    columns = [Column("method", "Method"), *(Column(name, names[name], "change") for name in shown)]
    note = "Percentage points [95 % interval], paired by test item. An interval without 0 shows a difference."
    return Table("differences", f"Differences from {reference.name}", columns, rows, note)


def cautions(analysis: Analysis) -> list[str]:
    """What limits the findings: unfinished runs, seeds, styles, number of items."""
    notes = []
    for method in analysis.methods:
        if not method.complete:
            seeds = zip(method.runs, method.finished, strict=True)
            done = ", ".join(f"seed {run.seed}: {count} of {method.stages}" for run, count in seeds)
            notes.append(
                f"{method.name} is not finished (stages evaluated: {done}); measures count finished seeds."
            )
    notes += _seeds(max((method.draws.seeds for method in analysis.methods), default=0))
    if len({method.style for method in analysis.methods}) > 1:
        notes.append(
            "Methods are judged under different prompt styles; compare each with the base row of its style."
        )
    if len(analysis.sequential) > 2:
        notes.append("Intervals are 95 % for each comparison, not corrected for their number.")
    if counts := [count for count in analysis.items.values() if count]:
        notes.append(_resolution(analysis, min(counts)))
    return notes


def _seeds(count: int) -> list[str]:
    if count == 1:
        return [
            "One seed: intervals cover the choice of test items, not how another training run would differ."
        ]
    if 1 < count < 5:
        return [f"{count} seeds: intervals cover test items and seeds; from so few seeds they are rough."]
    return []


def _resolution(analysis: Analysis, items: int) -> str:
    together = sum(analysis.items[task] for task in analysis.results.sequence)

    def points(count: int, paired: bool) -> str:
        return f"{100 * resolvable_difference(count, paired=paired):.1f}"

    return (
        f"{items} test items per task resolve a difference between two methods of {points(items, True)} "
        f"points on one task, and the sequence's {together:,} together {points(together, True)} points in "
        f"AvgAcc (the same items, a fifth of them judged differently; independent items: "
        f"{points(items, False)} and {points(together, False)}); 80 % power, seeds aside."
    )


def _list(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
