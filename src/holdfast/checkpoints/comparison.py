"""Comparing two checkpoints item by item, and deciding what was forgotten.

A row (a task, or all tasks together) is

    forgotten   accuracy fell by more than the bound, and the fall is no chance: McNemar's exact test, or the
                resamples where flips count unlike, adjusted for the number of rows (Holm), gives at most
                1 − level
    kept        the interval of the change lies wholly above minus the bound
    unclear     neither: too few items to tell

So "forgotten" of a checkpoint that forgot nothing happens in at most 1 − level of comparisons, however
many tasks there are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from holdfast.analysis import paired
from holdfast.analysis.metrics import resolvable_difference
from holdfast.analysis.paired import Change
from holdfast.checkpoints.comparable import check_inputs, check_setting
from holdfast.checkpoints.folder import Examined, questions_of
from holdfast.checkpoints.looks import Looks
from holdfast.config.exam import Exam
from holdfast.errors import InputError
from holdfast.experiment.plan import Plan
from holdfast.report.table import Column, Table, rounded, to_json
from holdfast.tasks.leftout import without
from holdfast.tasks.scoring import RIGHT

Verdict = Literal["forgotten", "unclear", "kept"]
ALL = "all tasks"


@dataclass(frozen=True)
class Compared:
    """One row: a task, or all of them.

    Attributes:
        p: of `Change.p` or of the looks, adjusted for the number of rows.
        unadjusted: the same, not adjusted.
    """

    name: str
    change: Change
    p: float
    unadjusted: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints on the same tasks; with several tasks, the last row is all of them together.

    Attributes:
        flips: items whose score fell or rose, with both responses.
        sequential: looks were made on the way, and may have ended tasks early.
        strict: only what was shown to be kept passes.
    """

    rows: tuple[Compared, ...]
    flips: list[dict[str, Any]]
    max_drop: float
    level: float
    sequential: bool = False
    strict: bool = False

    @property
    def failing(self) -> tuple[Verdict, ...]:
        """The verdicts that stop a release."""
        return ("forgotten", "unclear") if self.strict else ("forgotten",)

    @property
    def fails(self) -> bool:
        return any(row.verdict in self.failing for row in self.rows)

    def named(self, verdict: Verdict) -> list[str]:
        return [row.name for row in self.rows if row.verdict == verdict]

    def nothing_to_lose(self) -> list[str]:
        """Unclear rows in which too little was right before: more of the same items would not tell."""
        return [
            row.name for row in self.rows if row.verdict == "unclear" and row.change.before <= self.max_drop
        ]

    def remarks(self) -> list[str]:
        """What else is to be known of the verdicts."""
        if not (names := self.nothing_to_lose()):
            return []
        return [
            f"nothing to lose in {', '.join(names)}, where the first checkpoint has at most "
            f"{100 * self.max_drop:g} of 100 right: see whether prompt, max_tokens and scorer fit it, or ask "
            "other tasks"
        ]


def compare(
    before: Sequence[Examined],
    after: Sequence[Examined],
    *,
    max_drop: float,
    level: float,
    allowed: Collection[str] = (),
    looks: Looks | None = None,
    strict: bool = False,
) -> Comparison:
    """Compare the answers of two checkpoints.

    Args:
        max_drop: largest fall in accuracy that is no forgetting, 0..1.
        allowed: differences that are meant (`comparable.ALLOWABLE`).
        looks: made while the new checkpoint answered, which may have ended tasks. Then p is theirs, and there
            is no row of all tasks: those that were ended early lost more than they would have in the end.

    Raises:
        InputError: they were not asked the same items in the same way, or not in the same setting.
    """
    changes: dict[str, Change] = {}
    flips: list[dict[str, Any]] = []
    for old, new in zip(before, after, strict=True):
        _check_same(old, new, allowed)
        changes[old.task] = paired.compare(old.task, old.scores_N, new.scores_N)
        flips += _flips(old, new)
    if len(changes) > 1 and looks is None:
        changes[ALL] = paired.pool(list(changes.values()))
    values = [change.p for change in changes.values()]
    if looks is not None:
        values = [looks.p(new.task, new.scores_N) for new in after]
    rows = tuple(
        Compared(name, change, p, value, _verdict(change, p, max_drop, level))
        for (name, change), p, value in zip(changes.items(), paired.holm(values), values, strict=True)
    )
    return Comparison(rows, flips, max_drop, level, sequential=looks is not None, strict=strict)


def _verdict(change: Change, p: float, max_drop: float, level: float) -> Verdict:
    if change.fell(max_drop) and p <= 1 - level:
        return "forgotten"
    return "kept" if change.interval(level).low > -max_drop else "unclear"


def to_table(comparison: Comparison) -> Table:
    """A row a task, and one for all."""
    level = f"{100 * comparison.level:g} %"
    test = "a group-sequential test with McNemar's" if comparison.sequential else "McNemar's exact test"
    if not all(row.change.alike for row in comparison.rows):
        test += ", or the resamples where flips count unlike"
    columns = [
        Column("task", "Task"),
        Column("items", "Items", "count"),
        Column("before", "Before", "points"),
        Column("after", "After", "points"),
        Column("change", "Change", "change", f"after minus before, with its {level} interval"),
        Column("lost", "Lost", "count", "items whose score fell: that were right and are wrong"),
        Column("gained", "Gained", "count", "items whose score rose: that were wrong and are right"),
        Column("p", "p", "text", f"{test}, adjusted for the number of rows"),
        Column("resolvable", "Resolvable", "points", "difference that is shown in 80 % of cases"),
        Column("verdict", "Verdict"),
    ]
    rows = [_row(row, comparison.level) for row in comparison.rows]
    bound = f"{100 * comparison.max_drop:g}"
    points = f"{bound} point" if bound == "1" else f"{bound} points"
    note = (
        f"Points of 100, with {level} bootstrap intervals of the paired change. Forgotten: fell by more "
        f"than {points}, with p ≤ {1 - comparison.level:.3g} ({test} over items lost and "
        f"gained, adjusted for the number of rows). Kept: the interval lies above −{bound}. Unclear: "
        "neither. Resolvable: the difference that so many items, and so many of them judged differently, "
        "show in 80 % of cases."
    )
    return Table("comparison", "Before and after", columns, rows, note)


def _row(row: Compared, level: float) -> dict[str, Any]:
    change = row.change
    count = change.counting
    discordant = (change.turned * count + 1) / (count + 2)  # never none, as in the intervals
    return {
        "task": row.name,
        "items": change.items,
        "before": change.before,
        "after": change.after,
        "change": change.interval(level),
        "lost": change.lost,
        "gained": change.gained,
        "p": "<0.001" if row.p < 0.001 else rounded(row.p, 3),
        "resolvable": resolvable_difference(count, paired=True, discordant=discordant, level=level),
        "verdict": row.verdict,
    }


def facts(comparison: Comparison, names: tuple[str, str]) -> dict[str, Any]:
    """The comparison as plain data: what comparison.json and `--json` say."""
    old, new = names
    return {
        "before": old,
        "after": new,
        "keep": old if comparison.fails else new,
        "max_drop": comparison.max_drop,
        "level": comparison.level,
        "sequential": comparison.sequential,
        "strict": comparison.strict,
        **{verdict: comparison.named(verdict) for verdict in get_args(Verdict)},
        "tests": {row.name: {"p": row.unadjusted, "adjusted": row.p} for row in comparison.rows},
        **to_json(to_table(comparison)),
    }


def check_asked(examined: Sequence[Examined], exam: Exam, plan: Plan, allowed: Collection[str] = ()) -> None:
    """Whether answers that are there can be compared with those of an exam to come, whose jobs are planned.

    Raises:
        InputError: they were given to other questions, or asked in another way.
    """
    asked = {job.tasks[0]: job for job in plan.jobs.values()}
    for one in examined:
        task = without(exam.task(one.task), plan.left_out)
        now = questions_of(asked[one.task], exam.judging(task))
        check_inputs(one.task, one.inputs, now, ("in the folder", "now"), allowed)


def _check_same(old: Examined, new: Examined, allowed: Collection[str]) -> None:
    check_inputs(old.task, old.inputs, new.inputs, ("before", "after"), allowed)
    try:
        check_setting(old.setting, new.setting, allowed)
    except InputError as error:
        raise InputError(f"Task {old.task}: {error}") from None
    for position, (one, other) in enumerate(zip(old.records, new.records, strict=True), start=1):
        if (one["id"], one["prompt"], one["reference"]) != (other["id"], other["prompt"], other["reference"]):
            raise InputError(
                f"{old.task}: item {position} is {one['id']} before and {other['id']} after, or not the same "
                "question; evaluate both again on the same data."
            )


def _flips(old: Examined, new: Examined) -> list[dict[str, Any]]:
    """Items whose score changed, lost ones first."""
    flips = []
    for before, after in zip(old.records, new.records, strict=True):
        was, now = before["score"], after["score"]
        if was == now:
            continue
        flip: dict[str, Any] = {"task": old.task, "id": before["id"], "flip": f"{was:.3g}→{now:.3g}"}
        if now < was:
            told = after["lenient"] >= RIGHT and after["lenient"] > now
            flip["lost"] = "convention" if told else "knowledge"
        flip |= {"prompt": before["prompt"], "reference": before["reference"]}
        for side, record in (("before", before), ("after", after)):
            flip[side] = {key: record[key] for key in ("response", "answer", "score")}
        flips.append(flip)
    return sorted(flips, key=lambda flip: "lost" not in flip)
