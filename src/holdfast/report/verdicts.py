"""The report's sentences: what the intervals allow to be said, and no more.

Methods are compared with a reference: the one that the experiment names, or else the first sequential
SFT method (or the first sequential method) that learned the tasks in the same order. A difference
counts as shown when the 95 % interval of the paired difference leaves zero out and the permutation
test, corrected for the number of comparisons, agrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from holdfast.forgetting.metrics import resolvable_difference
from holdfast.forgetting.permutation import Difference
from holdfast.report.analysis import Analysis, MethodView
from holdfast.report.comparisons import MEASURES, Comparison
from holdfast.report.table import Column, Kind, Table, Value, p_value, text

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


MOST_IN_FULL = 5  # methods whose differences a sentence tells; the table has those of all


@dataclass(frozen=True)
class Finding:
    """One thing the results say, under a topic."""

    topic: str
    text: str


def findings(analysis: Analysis) -> list[Finding]:
    """What can be said, the most important first."""
    groups = analysis.references
    if not groups:
        if analysis.sequential:
            note = "No method has finished its sequence, so nothing can be said about forgetting yet."
        else:
            note = "No method learned the tasks one after another, so there was nothing to forget."
        return [Finding("Forgetting", note), *_joint(analysis)]
    found = []
    compared = {comparison.method.name: comparison for comparison in analysis.comparisons}
    for measure in QUESTIONS:
        for reference, others in groups:
            if others and not np.isnan(reference.measure(measure).value):
                say = _compare_two if len(others) == 1 else _compare_many
                found.append(say([compared[method.name] for method in others], measure))
    if not compared:
        found = [_alone(reference) for reference, _ in groups]
    unequal = [
        one
        for reference, others in groups
        for one in _unequal_learning([compared[method.name] for method in others])
    ]
    return found + unequal + _joint(analysis)


def _alone(method: MethodView) -> Finding:
    parts = [
        f"{QUESTIONS[measure][1]} {text(method.measure(measure), _kind(measure))}"
        for measure in QUESTIONS
        if not np.isnan(method.measure(measure).value)
    ]
    learned = text(method.measure("learned"), "change")
    return Finding(
        "Forgetting", f"{method.name} learned {learned} points over the base and ended with {listed(parts)}."
    )


def _compare_two(comparisons: list[Comparison], measure: str) -> Finding:
    topic, name, (_, above), (_, below) = QUESTIONS[measure]
    (comparison,) = comparisons
    gap, method, reference = comparison.differences[measure], comparison.method, comparison.reference
    ours, theirs = (text(one.measure(measure), _kind(measure)) for one in (method, reference))
    if gap.shown:
        said = f"{method.name} {above if gap.value > 0 else below} {reference.name}"
    else:
        said = f"No difference shown between {method.name} and {reference.name}"
    said = f"{said}: {name} {ours} against {theirs}; difference {with_p(gap)}"
    return Finding(topic, f"{said}{_one_seed(comparisons)}.")


def _compare_many(comparisons: list[Comparison], measure: str) -> Finding:
    topic, name, (above, _), (below, _) = QUESTIONS[measure]
    reference = comparisons[0].reference
    said: dict[str, list[str]] = {above: [], below: [], "": []}
    for comparison in comparisons:
        gap = comparison.differences[measure]
        word = (above if gap.value > 0 else below) if gap.shown else ""
        shown = f" ({with_p(gap)})" if len(comparisons) <= MOST_IN_FULL else ""
        said[word].append(f"{comparison.method.name}{shown}")
    parts = [f"{word} with {listed(said[word])}" for word in (above, below) if said[word]]
    if said[""]:
        parts.append(f"no difference shown for {listed(said[''])}")
    theirs = f"{name} {text(reference.measure(measure), _kind(measure))}"
    said_all = f"Compared with {reference.name} ({theirs}): {'; '.join(parts)}"
    return Finding(topic, f"{said_all}{_one_seed(comparisons)}.")


def with_p(gap: Difference) -> str:
    """A difference with its interval and p-value."""
    return text(gap, "change") + ("" if np.isnan(gap.p) else f", {p_value(gap.p)}")


def _one_seed(comparisons: list[Comparison]) -> str:
    return "; one seed" if any(comparison.one_seed for comparison in comparisons) else ""


def _unequal_learning(comparisons: list[Comparison]) -> list[Finding]:
    """A method that learned less had less to forget, which a comparison of forgetting must say."""
    gaps = {one.method.name: one.differences["plasticity"] for one in comparisons}
    in_full = len(gaps) <= MOST_IN_FULL
    unequal = [
        f"{name} by {text(gap, 'change')}" if in_full else name for name, gap in gaps.items() if gap.shown
    ]
    if not unequal:
        return []
    unit, theirs = " points" if in_full else "", f"{comparisons[0].reference.name}'s"
    return [
        Finding(
            "Unequal learning",
            f"Accuracy just after training differs from {theirs}: {listed(unequal)}{unit}. "
            "Who learns less has less to forget, so read forgetting together with learning.",
        )
    ]


def _joint(analysis: Analysis) -> list[Finding]:
    joint = [method for method in analysis.joint if method.draws.complete]
    finished = [method for method in analysis.sequential if method.draws.complete]
    if not joint:
        return []
    said = listed([f"{method.name} reached AvgAcc {_avg_acc(method)}" for method in joint])
    if finished:
        best = max(finished, key=lambda method: method.measure("avg_acc").value)
        said += f"; the best sequential method is {best.name} with {_avg_acc(best)}"
    return [Finding("All tasks at once", f"{said}.")]


def _avg_acc(method: MethodView) -> str:
    return text(method.measure("avg_acc"), "points")


def _kind(measure: str) -> Kind:
    return "points" if measure == "avg_acc" else "change"


def differences(analysis: Analysis) -> Table | None:
    """Every sequential method minus the reference of its order, on the same items; None without any."""
    found = analysis.comparisons
    if not found:
        return None
    against = list(dict.fromkeys(comparison.reference.name for comparison in found))
    shown = [
        name
        for name in MEASURES
        if any(not np.isnan(comparison.differences[name].value) for comparison in found)
    ]
    rows: list[dict[str, Value]] = []
    for comparison in found:
        row: dict[str, Value] = {"method": comparison.method.name, "against": comparison.reference.name}
        rows.append(row | {name: comparison.differences[name] for name in shown})
    columns = [Column("method", "Method"), *(Column(name, MEASURES[name], "change") for name in shown)]
    title = f"Differences from {against[0]}"
    if len(against) > 1:
        columns.insert(1, Column("against", "Against"))
        title = "Differences from the reference of the same task order"
    return Table("differences", title, columns, rows, TESTED_NOTE + one_seed_note(found))


TESTED_NOTE = (
    "Percentage points [95 % interval], paired by test item; p of a permutation test over items, corrected "
    "for the number of comparisons in this table (Holm); d is the effect size d_z (FM has none). Bold: "
    "shown, that is the interval leaves zero out and p ≤ 0.05."
)


def one_seed_note(comparisons: list[Comparison]) -> str:
    """What a single seed means for a table."""
    if not any(comparison.one_seed for comparison in comparisons):
        return ""
    return " One seed: intervals and p cover the choice of test items, not how another run would differ."


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
            "Methods are judged under different prompt styles; compare each with the base row of its style. "
            "Where a method and its reference differ in style, their general changes start from two bases."
        )
    if len(analysis.sequential) > 1:
        notes.append(
            "A difference is called shown when its 95 % interval leaves zero out and its p-value, corrected "
            "for the number of comparisons in its table, is at most 0.05."
        )
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
    counts = [analysis.items[task] for task in analysis.results.sequence if analysis.items[task]]
    # Tasks count alike in AvgAcc, so the smallest of them limit what it can resolve.
    together = round(len(counts) ** 2 / sum(1 / count for count in counts)) if counts else items

    def points(count: int, paired: bool) -> str:
        return f"{100 * resolvable_difference(count, paired=paired):.1f}"

    return (
        f"{items} test items per task resolve a difference between two methods of {points(items, True)} "
        f"points on one task, and the sequence's tasks together {points(together, True)} points in "
        f"AvgAcc (the same items, a fifth of them judged differently; independent items: "
        f"{points(items, False)} and {points(together, False)}); 80 % power, seeds aside."
    )


def listed(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
