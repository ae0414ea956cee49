"""Methods against their reference: the table of differences, and what they allow to be said, no more.

The reference is the method that the experiment names (in another order, its counterpart), or else the
first sequential SFT method, or the first sequential method, that learned the tasks in the same order. A
difference counts as shown when the 95 % interval of the paired difference leaves zero out and the
permutation test, corrected for the number of comparisons, agrees.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from holdfast.analysis.axes import shown
from holdfast.analysis.comparisons import METRICS, Comparison
from holdfast.analysis.method import MethodView
from holdfast.analysis.metrics import items_together, resolvable_difference
from holdfast.analysis.permutation import Difference
from holdfast.analysis.views import Analysis
from holdfast.report.rows import METHOD, Row
from holdfast.report.section import Finding, Section
from holdfast.report.table import NO_BREAK, Column, Table, p_value, rounded, text, used

# metric -> (topic, name, then for a method above and below the one it is compared with: a word that
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
TESTED_NOTE = (
    "Percentage points [95 % interval], paired by test item; p of a permutation test over items, corrected "
    "for the number of comparisons in this table (Holm); d is the effect size d_z (FM has none). Bold: "
    "shown, that is the interval leaves zero out and p ≤ 0.05."
)


def section(analysis: Analysis) -> Section:
    table = differences(analysis)
    return Section("differences", table.title, "Differences", [table], findings=findings(analysis))


def differences(analysis: Analysis) -> Table:
    """Every sequential method minus the reference of its order, on the same items."""
    found = analysis.comparisons
    rows: list[Row] = [
        {"method": one.method.name, "against": one.reference.name, **one.differences} for one in found
    ]
    columns = [METHOD, *(Column(name, label, "change") for name, label in METRICS.items())]
    against = list(dict.fromkeys(row["against"] for row in rows))
    title = f"Differences from {against[0]}" if against else "Differences"
    if len(against) > 1:
        columns.insert(1, Column("against", "Against"))
        title = "Differences from the reference of the same task order"
    return Table("differences", title, used(columns, rows), rows, TESTED_NOTE + one_seed_note(found))


def one_seed_note(comparisons: list[Comparison]) -> str:
    """What a single seed means for a table."""
    if not any(comparison.one_seed for comparison in comparisons):
        return ""
    return " One seed: intervals and p cover the choice of test items, not how another run would differ."


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
    for metric in QUESTIONS:
        for reference, others in groups:
            if others and not np.isnan(reference.metric(metric).value):
                say = _compare_two if len(others) == 1 else _compare_many
                found.append(_in_order(say([compared[method.name] for method in others], metric), reference))
    if not compared:
        found = [_alone(reference) for reference, _ in groups]
    unequal = [
        _in_order(one, reference)
        for reference, others in groups
        for one in _unequal_learning([compared[method.name] for method in others])
    ]
    return found + unequal + _little_to_forget(analysis) + _joint(analysis)


def _in_order(finding: Finding, reference: MethodView) -> Finding:
    """Where the order of tasks is a setting that varies, the topic names it, once for all methods."""
    if "order" not in reference.axes:
        return finding
    order = f"order={shown(reference.axes['order'])}"
    return Finding(f"{finding.topic}, {order}", finding.text.replace(f" {order}", ""))


def _alone(method: MethodView) -> Finding:
    parts = [
        f"{QUESTIONS[metric][1]} {_said(method, metric)}"
        for metric in QUESTIONS
        if not np.isnan(method.metric(metric).value)
    ]
    topic = "Learning" if np.isnan(method.metric("fm").value) else "Forgetting"  # one task forgets nothing
    learned = _said(method, "learned")
    return Finding(
        topic, f"{method.name} learned {learned} points over the base and ended with {listed(parts)}."
    )


def _compare_two(comparisons: list[Comparison], metric: str) -> Finding:
    topic, name, (_, above), (_, below) = QUESTIONS[metric]
    (comparison,) = comparisons
    gap, method, reference = comparison.differences[metric], comparison.method, comparison.reference
    ours, theirs = (_said(one, metric) for one in (method, reference))
    if gap.shown:
        said = f"{method.name} {above if gap.value > 0 else below} {reference.name}"
    else:
        said = f"No difference shown between {method.name} and {reference.name}"
    said = f"{said}: {name} {ours} against {theirs}; difference {with_p(gap)}"
    return Finding(topic, f"{said}{_one_seed(comparisons)}.")


def _compare_many(comparisons: list[Comparison], metric: str) -> Finding:
    topic, name, (above, _), (below, _) = QUESTIONS[metric]
    reference = comparisons[0].reference
    gaps = [(one.method.name, one.differences[metric]) for one in comparisons]
    if len(gaps) <= MOST_IN_FULL:
        gaps = [(f"{method} ({with_p(gap)})", gap) for method, gap in gaps]
    said = by_sign(gaps, f"{above} with", f"{below} with", "no difference shown for")
    theirs = f"{name} {_said(reference, metric)}"
    return Finding(topic, f"Compared with {reference.name} ({theirs}): {said}{_one_seed(comparisons)}.")


def by_sign(gaps: Iterable[tuple[str, Difference]], above: str, below: str, neither: str) -> str:
    """Names behind what is said of their differences: shown above 0, shown below 0, or not shown."""
    said: dict[str, list[str]] = {above: [], below: [], neither: []}
    for name, gap in gaps:
        said[(above if gap.value > 0 else below) if gap.shown else neither].append(name)
    return "; ".join(f"{words} {listed(names)}" for words, names in said.items() if names)


def with_p(gap: Difference) -> str:
    """A difference with its interval and p-value, each on one line."""
    return text(gap, "change") + ("" if np.isnan(gap.p) else f", {p_value(gap.p).replace(' ', NO_BREAK)}")


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
    unit = " points" if in_full else ""
    return [
        Finding(
            "Unequal learning",
            f"Accuracy just after training differs from that of {comparisons[0].reference.name}: "
            f"{listed(unequal)}{unit}. Who learns less has less to forget, so read forgetting together with "
            "learning.",
        )
    ]


def _little_to_forget(analysis: Analysis) -> list[Finding]:
    """An FM near 0 of a method that had learned next to nothing is no sign of keeping."""
    column = {task: index for index, task in enumerate(analysis.results.sequence)}
    little, least = [], 0.0
    for method in analysis.sequential:
        old = method.order[:-1]
        counts = [analysis.items[task] for task in old]
        if not method.complete or not counts or not all(counts):
            continue
        learned = np.mean([method.matrix_ST[stage, column[task]] for stage, task in enumerate(old, 1)])
        if learned < (resolves := resolvable_difference(items_together(counts), paired=True)):
            little.append(f"{method.name} ({rounded(learned, 1, times=100)})")
            least = max(least, resolves)
    if not little:
        return []
    return [
        Finding(
            "Little to forget",
            f"Of earlier tasks' items few were right just after training on them, in %: {listed(little)}. "
            f"That is less than the {rounded(least, 1, times=100)} points that these items resolve, so an FM "
            "near 0 says nothing there.",
        )
    ]


def _joint(analysis: Analysis) -> list[Finding]:
    joint = [method for method in analysis.joint if method.draws.complete]
    finished = [method for method in analysis.sequential if method.draws.complete]
    if not joint:
        return []
    said = listed([f"{method.name} reached AvgAcc {_said(method, 'avg_acc')}" for method in joint])
    if finished:
        most = max(method.metric("avg_acc").value for method in finished)
        best = [one for one in finished if one.metric("avg_acc").value == most]
        those = "method is" if len(best) == 1 else "methods are"
        named = listed([f"{one.name} with {_said(one, 'avg_acc')}" for one in best])
        said += f"; the best sequential {those} {named}"
    return [Finding("All tasks at once", f"{said}.")]


def _said(method: MethodView, metric: str) -> str:
    return text(method.metric(metric), "points" if metric == "avg_acc" else "change")


def listed(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
