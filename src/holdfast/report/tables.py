"""The tables of the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from holdfast.forgetting.bootstrap import estimate
from holdfast.forgetting.results import MethodRun
from holdfast.forgetting.transitions import Transitions
from holdfast.report.analysis import Analysis, MethodView
from holdfast.report.table import Column, Table, Value

METHOD = Column("method", "Method")
STYLE = Column("style", "Style", help="prompt style it was trained and judged in")
BASE = "base model"
AMOUNTS = (  # of a stage's totals; the first four are always shown
    *("examples", "completions", "tokens", "seconds"),
    *("prompt_tokens", "sampled_tokens", "flops", "joules"),
)
FILTER_AMOUNTS = ("completions", "flops", "seconds")


def all_tables(analysis: Analysis) -> dict[str, Table]:
    """Every table by name, in reading order; those without rows are left out."""
    tables = [
        headline(analysis),
        per_task(analysis),
        general(analysis),
        turnover(analysis),
        turnover_by_task(analysis),
        turnover_by_stage(analysis),
        responses(analysis),
        budget(analysis),
        matrices(analysis),
    ]
    if analysis.other_style:
        tables.insert(1, headline(analysis, other_style=True))
    return {table.name: table for table in tables if table.rows}


def headline(analysis: Analysis, *, other_style: bool = False) -> Table:
    """AvgAcc, FM, BWT, plasticity, learned and general change per method, with the base in front."""
    methods = analysis.other_style if other_style else analysis.methods
    sequence = len(analysis.results.sequence)
    columns = [
        METHOD,
        STYLE,
        Column("seeds", "Seeds", help="finished seeds, of those started"),
        Column("avg_acc", "AvgAcc", "points", "mean accuracy over the tasks at the end"),
        Column("fm", "FM", "change", "end minus best since learned, old tasks; closer to 0 is better"),
        Column("bwt", "BWT", "change", "end minus just trained, old tasks"),
        Column("plasticity", "Plasticity", "points", "mean accuracy on each task just after training on it"),
        Column("learned", "Learned", "change", "plasticity minus base"),
        Column("general", "General", "change", "general benchmarks, end minus base"),
    ]
    if not analysis.results.general:
        columns.pop()
    rows: list[dict[str, Value]] = []
    for style, source in analysis.styles(methods).items():
        # A base accuracy belongs to no method; that of any one judged in this style will do.
        average = estimate_mean(source, 0, sequence)
        rows.append({"method": BASE, "style": style, "seeds": None, "avg_acc": average})
    base_rows = len(rows)
    for method in methods:
        rows.append(
            _named(method, seeds=seeds(method))
            | {name: method.measure(name) for name in method.draws.measures}
        )
    title = "Learned and forgotten"
    if other_style:
        title += ", judged under the other prompt style"
    return Table(
        "headline_other_style" if other_style else "headline",
        title,
        columns,
        rows,
        note="Percentage points, mean over seeds [95 % interval].",
        classes=dict.fromkeys(range(base_rows), "base"),
    )


def per_task(analysis: Analysis) -> Table:
    """Accuracy on each task of the sequence: base, just after training on it, at the end."""
    sequence = analysis.results.sequence
    columns = [METHOD, STYLE, Column("when", "When")]
    columns += [Column(task, task, "points") for task in sequence]
    rows, classes = _base_rows(analysis, range(len(sequence)), when=True)
    for method in analysis.methods:
        if not method.joint:
            just: dict[str, Value] = {
                task: method.cell(method.order.index(task) + 1, index) for index, task in enumerate(sequence)
            }
            rows.append(_named(method, when="just trained") | just)
        end: dict[str, Value] = {task: method.cell(-1, index) for index, task in enumerate(sequence)}
        rows.append(_named(method, when="end") | end)
    note = "Accuracy, %, mean over seeds [95 % interval]."
    return Table("per_task", "Accuracy per task", columns, rows, note, classes)


def general(analysis: Analysis) -> Table:
    """General benchmarks: before, after and the change."""
    if not analysis.results.general:
        return Table("general", "General benchmarks", [], [])
    first = len(analysis.results.sequence)
    columns = [METHOD, STYLE]
    for task in analysis.results.general:
        columns += [
            Column(task, task, "points"),
            Column(f"{task}_change", "change", "change", "end minus base"),
        ]
    rows, classes = _base_rows(analysis, range(first, len(analysis.tasks)), when=False)
    for method in analysis.methods:
        row = _named(method)
        for index in range(first, len(analysis.tasks)):
            task = analysis.tasks[index]
            row |= {task: method.cell(-1, index), f"{task}_change": method.change(index)}
        rows.append(row)
    note = "Accuracy at the end, %, and its change from the base [95 % interval]. No stage trains on these."
    return Table("general", "General benchmarks", columns, rows, note, classes)


def turnover(analysis: Analysis) -> Table:
    """Sample transitions, mean over the old tasks."""
    rows: list[dict[str, Value]] = []
    for method in analysis.sequential:
        if method.turnover:
            persistent = [entry for entry in method.persistence if entry.since > 0]
            row: dict[str, Value] = {"method": label(method)}
            row |= method.turnover
            rows.append(
                row | {name: _mean(getattr(entry, name) for entry in persistent) for name in _LASTING}
            )
    note = (
        "Shares of test items, %, mean over the old tasks [95 % interval]: just after training on the task "
        "against the end. A lost item lost its convention when its final answer is right, but written in "
        "another way than the task asks for; its format when the right answer stands in the response, but "
        "not where it is asked for; else its knowledge. Never lost: of the items right just after training, "
        "those right at every later stage. Recovered: of the others, those right at the end, where two "
        "stages or more followed; both plain means. From stage to stage: tables/turnover_by_stage.csv."
    )
    shares = [column for column in _turnover_columns() if column.key in _SHARES]
    columns = [METHOD, *shares, *_lasting_columns()]
    return Table("turnover", "Which items were lost and gained", columns, rows, note)


def turnover_by_task(analysis: Analysis) -> Table:
    """Sample transitions of every old task and general benchmark."""
    rows: list[dict[str, Value]] = []
    for method in analysis.methods:
        persistence = {entry.task: entry for entry in method.persistence}
        for entry in method.transitions:
            row = _transition_row(method, entry)
            if lasting := persistence.get(entry.task):
                row |= {name: getattr(lasting, name) for name in _LASTING}
            rows.append(row)
    columns = [METHOD, Column("task", "Task"), Column("since", "Since")]
    columns += [*_turnover_columns(), *_lasting_columns()]
    note = (
        "Shares of test items, %, from the stage in 'Since' to the end. Beyond chance: without what guessing "
        "explains, where answers are options."
    )
    return Table("turnover_by_task", "Items lost and gained, per task", columns, rows, note)


def turnover_by_stage(analysis: Analysis) -> Table:
    """Sample transitions of old tasks and general benchmarks between stages."""
    rows: list[dict[str, Value]] = []
    for method in analysis.methods:
        for entry in method.stage_transitions:
            until = {"until": f"stage {entry.until}", "trained_on": stage_name(method, entry.until)}
            rows.append(_transition_row(method, entry) | until | {"items": entry.items})
    columns = [METHOD, Column("task", "Task"), Column("since", "Since"), Column("until", "Until")]
    columns += [Column("trained_on", "After training on"), Column("items", "Test items", "count")]
    note = "Shares of test items, %, from the stage in 'Since' to the one in 'Until'."
    title = "Items lost and gained, from stage to stage"
    return Table("turnover_by_stage", title, [*columns, *_turnover_columns()], rows, note)


def _transition_row(method: MethodView, entry: Transitions) -> dict[str, Value]:
    since = "base" if entry.since == 0 else f"stage {entry.since}"
    row: dict[str, Value] = {"method": label(method), "task": entry.task, "since": since}
    return row | {name: getattr(entry, name) for name in _TURNOVER}


_LOST = ("lost_knowledge", "lost_convention", "lost_format")
_SHARES = ("kept", "lost", *_LOST, "gained")  # of all tasks
_TURNOVER = (*_SHARES, "lost_true", "gained_true")
_LASTING = ("never_lost", "recovered")


def _turnover_columns() -> list[Column]:
    return [
        Column("kept", "Right → right", "points"),
        Column("lost", "Right → wrong", "points"),
        Column("lost_knowledge", "of these: knowledge", "points"),
        Column("lost_convention", "of these: convention", "points", "right, but written in another way"),
        Column("lost_format", "of these: format", "points", "right answer there, but not in its place"),
        Column("lost_true", "lost beyond chance", "points", "right → wrong, less what guessing explains"),
        Column("gained", "Wrong → right", "points"),
        Column("gained_true", "gained beyond chance", "points", "wrong → right, less what guessing explains"),
    ]


def _lasting_columns() -> list[Column]:
    return [
        Column("never_lost", "Never lost", "points", "of items right at first: right at every later stage"),
        Column("recovered", "Recovered", "points", "of items ever lost: right again at the end"),
    ]


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of those that are there; None if none is."""
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def responses(analysis: Analysis) -> Table:
    """Format, length and truncation of responses on the sequence's tasks: base and end."""
    columns = [
        METHOD,
        STYLE,
        Column(
            "format", "Right format", "points", "share of responses in the form the prompt style asks for"
        ),
        Column("tokens", "Tokens", "real", "mean length of a response"),
        Column("cut", "Cut off", "points", "share of responses that reached the token limit"),
    ]
    rows: list[dict[str, Value]] = []
    for style, source in analysis.styles(analysis.methods).items():
        rows.append({"method": BASE, "style": style} | _response_means(analysis, source.runs[:1], 0))
    classes = dict.fromkeys(range(len(rows)), "base")
    for method in analysis.methods:
        means = _response_means(analysis, method.runs, method.stages)
        rows.append(_named(method) | means)
    note = "On the test items of the sequence's tasks, at the end."
    return Table("responses", "Form of the responses", columns, rows, note, classes)


def budget(analysis: Analysis) -> Table:
    """What training took, per seed."""
    columns = [
        METHOD,
        Column("examples", "Examples", "count", "training examples seen, repeats included"),
        Column("completions", "Completions", "count", "sampled while learning, discarded ones too"),
        Column("tokens", "Tokens", "count", "learned from: of completions, or of the targets of SFT"),
        Column("prompt_tokens", "Prompt tokens", "count", "of the prompts, images included"),
        Column("sampled_tokens", "Sampled tokens", "count", "of all completions, discarded ones too"),
        Column(
            "flops", "Operations", "flop", "floating-point operations of learning, counted from the model"
        ),
        Column("joules", "Energy", "joule", "of the processors, where it can be read"),
        Column("kept", "Kept by filter", "points", "share of the training examples"),
        Column("filter_completions", "Filter's completions", "count", "sampled to choose what to train on"),
        Column("filter_flops", "Filter's operations", "flop", 'of these; "Operations" leaves them out'),
        Column("filter_seconds", "Filter's seconds", "count", "wall clock of the filter"),
        Column("seconds", "Seconds", "count", "wall clock of training"),
    ]
    rows: list[dict[str, Value]] = []
    for method in analysis.methods:
        used = [_spent(total, method.objective) for run in method.runs for total in run.totals if total]
        if not used:
            continue
        row: dict[str, Value] = {"method": label(method), "kept": _kept(method)}
        seeds = sum(any(run.totals) for run in method.runs)
        for name in AMOUNTS:
            amounts = [total[name] for total in used if total.get(name) is not None]
            row[name] = float(sum(amounts)) / seeds if amounts else None
        filters = [entry for run in method.runs for entry in run.filters if entry]
        for name in FILTER_AMOUNTS:
            amounts = [entry[name] for entry in filters if entry.get(name) is not None]
            row[f"filter_{name}"] = float(sum(amounts)) / seeds if amounts else None
        rows.append(row)
    # What no method measured is no column, beyond what every report shows.
    optional = {*AMOUNTS[4:], *(f"filter_{name}" for name in FILTER_AMOUNTS)}
    columns = [
        column
        for column in columns
        if column.key not in optional or any(row[column.key] is not None for row in rows)
    ]
    note = "Per seed, all stages together, mean over seeds."
    return Table("budget", "Training budget", columns, rows, note)


def _spent(total: Mapping[str, Any], objective: str) -> dict[str, Any]:
    """A stage's totals with the completions that were sampled in place of those learned from."""
    # Totals of the first versions do not tell the two apart; SFT's targets were all given then.
    learned_from = None if objective == "sft" else total.get("completions")
    return {**total, "completions": total.get("sampled", learned_from) or None}


def matrices(analysis: Analysis) -> Table:
    """All accuracy matrices: one row per method, seed and stage."""
    columns = [METHOD, STYLE, Column("seed", "Seed", "count"), Column("stage", "Stage", "count")]
    columns += [Column("trained_on", "After training on")]
    columns += [Column(task, task, "points") for task in analysis.tasks]
    rows: list[dict[str, Value]] = []
    for method in analysis.methods:
        for run in method.runs:
            for stage in range(method.stages + 1):
                row: dict[str, Value] = {"method": method.name, "style": method.style, "seed": run.seed}
                row |= {"stage": stage, "trained_on": stage_name(method, stage)}
                for task in analysis.tasks:
                    records = run.cells.get((stage, task))
                    row[task] = float(np.mean([record["score"] for record in records])) if records else None
                rows.append(row)
    return Table("matrices", "Accuracy matrices, every seed", columns, rows, "Accuracy, %.")


def stage_name(method: MethodView, stage: int) -> str:
    """What a row of the accuracy matrix stands for."""
    if stage == 0:
        return "base"
    return "all tasks" if method.joint else method.order[stage - 1]


def _named(method: MethodView, **more: Value) -> dict[str, Value]:
    """The first cells of a method's row."""
    return {"method": label(method), "style": method.style, **more}


def label(method: MethodView) -> str:
    """A method's name; a joint one says so."""
    return f"{method.name} (joint)" if method.joint and "joint" not in method.name.lower() else method.name


def seeds(method: MethodView) -> str:
    """How many seeds are finished, of how many, where some are not."""
    total, complete = method.draws.seeds, method.draws.complete
    return str(total) if complete == total else f"{complete} of {total}"


def estimate_mean(method: MethodView, stage: int, tasks: int) -> Value:
    """Mean accuracy of one stage over the first `tasks` tasks, with its interval."""
    return estimate(method.draws.accuracy_BST[:, stage, :tasks].mean(axis=-1))


def _base_rows(
    analysis: Analysis, tasks: range, *, when: bool
) -> tuple[list[dict[str, Value]], dict[int, str]]:
    rows: list[dict[str, Value]] = []
    for style, source in analysis.styles(analysis.methods).items():
        row: dict[str, Value] = {"method": BASE, "style": style}
        if when:
            row["when"] = "before"
        rows.append(row | {analysis.tasks[index]: source.cell(0, index) for index in tasks})
    return rows, dict.fromkeys(range(len(rows)), "base")


def _response_means(analysis: Analysis, runs: Sequence[MethodRun], stage: int) -> dict[str, Any]:
    means: dict[str, Any] = {}
    cells = [run.cells.get((stage, task), []) for run in runs for task in analysis.results.sequence]
    for field in ("format", "tokens", "finished"):
        per_cell = [float(np.mean([record[field] for record in records])) for records in cells if records]
        means[field] = float(np.mean(per_cell)) if per_cell else None
    finished = means.pop("finished")
    means["cut"] = None if finished is None else 1 - finished
    return means


def _kept(method: MethodView) -> float | None:
    filters = [entry for run in method.runs for entry in run.filters if entry]
    total = sum(entry["total"] for entry in filters)
    return sum(entry["kept"] for entry in filters) / total if total else None
