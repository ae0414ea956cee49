"""Comparing two checkpoints item by item, and deciding what was forgotten.

A row (a task, or all tasks together) is

    forgotten   accuracy fell by more than the bound, and the fall is no chance: McNemar's exact test,
                adjusted for the number of rows (Holm), gives at most 1 − level
    kept        the interval of the change lies wholly above minus the bound
    unclear     neither: too few items to tell

So "forgotten" of a checkpoint that forgot nothing happens in at most 1 − level of comparisons, however
many tasks there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from holdfast import files
from holdfast.analysis import paired
from holdfast.analysis.metrics import resolvable_difference
from holdfast.analysis.paired import Change
from holdfast.checkpoints.folder import Examined, questions_of
from holdfast.config.exam import Exam
from holdfast.errors import InputError
from holdfast.experiment.plan import Plan
from holdfast.report.table import Column, Table, to_json, to_markdown
from holdfast.tasks.leftout import without
from holdfast.tasks.scoring import RIGHT

Verdict = Literal["forgotten", "kept", "unclear"]
ALL = "all tasks"


@dataclass(frozen=True)
class Compared:
    """One row: a task, or all of them.

    Attributes:
        p: of McNemar's exact test, adjusted for the number of rows.
    """

    name: str
    change: Change
    p: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints on the same tasks; with several tasks, the last row is all of them together.

    Attributes:
        flips: items that were right and are wrong, or the reverse, with both responses.
    """

    rows: tuple[Compared, ...]
    flips: list[dict[str, Any]]
    max_drop: float
    level: float

    def named(self, verdict: Verdict) -> list[str]:
        return [row.name for row in self.rows if row.verdict == verdict]


def compare(
    before: Sequence[Examined], after: Sequence[Examined], *, max_drop: float, level: float
) -> Comparison:
    """Compare the answers of two checkpoints.

    Args:
        max_drop: largest fall in accuracy that is no forgetting, 0..1.

    Raises:
        InputError: they were not asked the same items in the same way.
    """
    changes: dict[str, Change] = {}
    flips: list[dict[str, Any]] = []
    for old, new in zip(before, after, strict=True):
        _check_same(old, new)
        changes[old.task] = paired.compare(old.task, old.scores_N, new.scores_N)
        flips += _flips(old, new)
    if len(changes) > 1:
        changes[ALL] = paired.pool(list(changes.values()))
    adjusted = paired.holm([change.p for change in changes.values()])
    rows = tuple(
        Compared(name, change, p, _verdict(change, p, max_drop, level))
        for (name, change), p in zip(changes.items(), adjusted, strict=True)
    )
    return Comparison(rows, flips, max_drop, level)


def _verdict(change: Change, p: float, max_drop: float, level: float) -> Verdict:
    if -change.value > max_drop and change.lost > change.gained and p <= 1 - level:
        return "forgotten"
    return "kept" if change.interval(level).low > -max_drop else "unclear"


def to_table(comparison: Comparison) -> Table:
    """A row a task, and one for all."""
    level = f"{100 * comparison.level:g} %"
    columns = [
        Column("task", "Task"),
        Column("items", "Items", "count"),
        Column("before", "Before", "points"),
        Column("after", "After", "points"),
        Column("change", "Change", "change", f"after minus before, with its {level} interval"),
        Column("lost", "Lost", "count", "items that were right and are wrong"),
        Column("gained", "Gained", "count", "items that were wrong and are right"),
        Column("p", "p", "text", "McNemar's exact test, adjusted for the number of rows"),
        Column("resolvable", "Resolvable", "points", "difference that is shown in 80 % of cases"),
        Column("verdict", "Verdict"),
    ]
    rows = [_row(row, comparison.level) for row in comparison.rows]
    bound = f"{100 * comparison.max_drop:g}"
    note = (
        f"Points of 100, with {level} bootstrap intervals of the paired change. Forgotten: fell by more "
        f"than {bound} points, with p ≤ {1 - comparison.level:.3g} (McNemar's exact test over items lost and "
        f"gained, adjusted for the number of rows). Kept: the interval lies above −{bound}. Unclear: "
        "neither. Resolvable: the difference that so many items, and so many of them judged differently, "
        "show in 80 % of cases."
    )
    return Table("comparison", "Before and after", columns, rows, note)


def _row(row: Compared, level: float) -> dict[str, Any]:
    change = row.change
    discordant = (change.lost + change.gained + 1) / (change.items + 2)  # never none, as in the intervals
    return {
        "task": row.name,
        "items": change.items,
        "before": change.before,
        "after": change.after,
        "change": change.interval(level),
        "lost": change.lost,
        "gained": change.gained,
        "p": f"{row.p:.3f}" if row.p >= 0.0005 else "<0.001",
        "resolvable": resolvable_difference(change.items, paired=True, discordant=discordant, level=level),
        "verdict": row.verdict,
    }


def write(comparison: Comparison, names: tuple[str, str], folder: Path) -> Table:
    """Write comparison.md, comparison.json and flips.jsonl; the table of the first two."""
    table = to_table(comparison)
    old, new = names
    head = f"# What changed\n\nBefore: {old}\\\nAfter: {new}\n"
    files.write_text(folder / "comparison.md", f"{head}\n{to_markdown(table)}\n{table.note}\n")
    facts = {
        "before": old,
        "after": new,
        "max_drop": comparison.max_drop,
        "level": comparison.level,
        "forgotten": comparison.named("forgotten"),
        "unclear": comparison.named("unclear"),
        "tests": {row.name: {"p": row.change.p, "adjusted": row.p} for row in comparison.rows},
    }
    files.write_json(folder / "comparison.json", facts | to_json(table))
    files.write_jsonl(folder / "flips.jsonl", comparison.flips)
    return table


def check_asked(examined: Sequence[Examined], exam: Exam, plan: Plan) -> None:
    """Whether answers that are there can be compared with those of an exam to come, whose jobs are planned.

    Raises:
        InputError: they were given to other questions, or asked in another way.
    """
    asked = {job.tasks[0]: job for job in plan.jobs.values()}
    for one in examined:
        task, split = without(exam.task(one.task), plan.left_out), exam.evaluation.split
        examples = exam.count(task, split) or task.sizes[split] or 0
        _check_inputs(one.task, one.inputs, questions_of(asked[one.task], examples), ("in the folder", "now"))


def _check_inputs(task: str, ours: dict[str, Any], theirs: dict[str, Any], sides: tuple[str, str]) -> None:
    for key in dict.fromkeys([*ours, *theirs]):
        if ours.get(key) != theirs.get(key):
            raise InputError(
                f"{task} is asked in different ways, so the answers cannot be compared: {key} is "
                f"{_shown(ours.get(key))} {sides[0]} and {_shown(theirs.get(key))} {sides[1]}. "
                "Evaluate both with the same options."
            )


def _check_same(old: Examined, new: Examined) -> None:
    _check_inputs(old.task, old.inputs, new.inputs, ("before", "after"))
    for position, (one, other) in enumerate(zip(old.records, new.records, strict=True), start=1):
        if (one["id"], one["prompt"], one["reference"]) != (other["id"], other["prompt"], other["reference"]):
            raise InputError(
                f"{old.task}: item {position} is {one['id']} before and {other['id']} after, or not the same "
                "question; evaluate both again on the same data."
            )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _flips(old: Examined, new: Examined) -> list[dict[str, Any]]:
    """Items whose judgement turned, lost ones first."""
    flips = []
    for before, after in zip(old.records, new.records, strict=True):
        was, now = before["score"] >= RIGHT, after["score"] >= RIGHT
        if was == now:
            continue
        flip: dict[str, Any] = {"task": old.task, "id": before["id"], "flip": "1→0" if was else "0→1"}
        if was:
            flip["lost"] = "convention" if after["lenient"] >= RIGHT else "knowledge"
        flip |= {"prompt": before["prompt"], "reference": before["reference"]}
        for side, record in (("before", before), ("after", after)):
            flip[side] = {key: record[key] for key in ("response", "answer", "score")}
        flips.append(flip)
    return sorted(flips, key=lambda flip: flip["flip"] == "0→1")
