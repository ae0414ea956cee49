"""What an experiment found: the per-sample records of every cell, with what led to them.

A *record* is one evaluated item, a dictionary with `id`, `prompt`, `response`, `answer` (None when
nothing could be extracted), `reference`, `score`, `lenient`, `format`, `tokens`, `finished` and
`meta`. Every figure of a report is computed from records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holdfast.tasks.example import Example
from holdfast.tasks.grading import Grade
from holdfast.tasks.leftout import LeftOut
from holdfast.tasks.prompts import Style
from holdfast.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, Any]


def make_record(
    task: Task, example: Example, response: str, grade: Grade, tokens: int | None, finished: bool
) -> Record:
    """The record of one graded response.

    Args:
        tokens: of the response; None where a server did not say.
        finished: it ended by itself, not at the limit of tokens.
    """
    return {
        "id": example.id,
        "prompt": example.prompt,
        "response": response,
        "answer": grade.answer,
        "reference": example.answer,
        "score": grade.score,
        "lenient": task.lenient_score(grade.answer, example),
        "format": grade.format,
        "tokens": tokens,
        "finished": finished,
        "meta": dict(example.meta),
    }


@dataclass(frozen=True)
class MethodRun:
    """One method with one seed.

    Attributes:
        method: its name in the experiment.
        seed: the seed it ran with.
        style: the prompt style it was judged in.
        joint: it trained on all tasks at once; it has stages 0 and 1 only.
        objective: what its steps optimised (`sft`, `grpo`, ...).
        cells: (stage, task name) -> records. Stage 0 is the untouched base, stage i the policy
            after the i-th task. A cell that is not there has not been computed (yet).
        curves: metrics rows of the learning loop, one list per stage.
        filters: per stage, {"kept", "total", "histogram": [count for 0..n correct]} and what
            filtering took: "seconds", "completions", "flops"; None where no filter was used.
        totals: per stage, what learning it took: seconds, examples, completions, tokens (of
            completions), prompt_tokens, flops, and joules where they can be read.
        order: the tasks in the order it trained on them; () means the experiment's sequence.
        group_baseline: a prompt whose completions have one reward taught it nothing.
        family, axes: of a method made by a grid, the method it varies and its value on each axis.
        measures: name -> stage -> what was measured, in the order of stages. Drift is of the policy after the
            stage: {"kl": rows, "movement": rows}; risk of that *before* it: {"instances": rows, ...}; the
            probe stands under the last stage: {"rows": one per old task}. One of the user's own has numbers
            by name.
    """

    method: str
    seed: int
    style: Style
    joint: bool
    objective: str
    cells: Mapping[tuple[int, str], list[Record]]
    curves: Sequence[list[dict[str, Any]]] = ()
    filters: Sequence[dict[str, Any] | None] = ()
    totals: Sequence[dict[str, Any]] = ()
    order: tuple[str, ...] = ()
    family: str = ""
    group_baseline: bool = False
    axes: Mapping[str, Any] = field(default_factory=dict)
    measures: Mapping[str, Mapping[int, dict[str, Any]]] = field(default_factory=dict)

    def measured(self, name: str) -> Mapping[int, dict[str, Any]]:
        """What a measure found, by stage."""
        return self.measures.get(name, {})


@dataclass(frozen=True, repr=False)
class Results:
    """All runs of an experiment, finished or not.

    Attributes:
        name: of the experiment.
        sequence: task names in training order; stage i trains on `sequence[i - 1]`, unless a run
            has an order of its own (`order_of`). Tables keep this order.
        general: names of the general benchmarks, which no stage trains on.
        chance: accuracy of guessing per task, 0..1, None where unknown.
        options: tasks whose every answer is one of k options; k = 1 / chance.
        settings: the resolved configuration.
        runs: one per method and seed.
        other_style: the same runs judged under the other prompt style, if that was asked for.
        left_out: rows that the model cannot take, which no run saw.
        made: machine, versions and the like of each result, where they were noted.
        failed: the jobs that failed when they were tried last, and why.
    """

    name: str
    sequence: tuple[str, ...]
    general: tuple[str, ...]
    chance: Mapping[str, float | None]
    settings: dict[str, Any]
    runs: tuple[MethodRun, ...]
    other_style: tuple[MethodRun, ...] = ()
    options: frozenset[str] = frozenset()
    left_out: tuple[LeftOut, ...] = ()
    made: tuple[Mapping[str, Any], ...] = ()
    failed: tuple[str, ...] = ()

    def __repr__(self) -> str:
        methods = list(dict.fromkeys(run.method for run in self.runs))
        return f"<Results of {self.name}: {', '.join(methods)}; {len(self.runs)} runs>"

    def last_stage(self, run: MethodRun) -> int:
        """The stage a finished run ends with."""
        return 1 if run.joint else len(self.sequence)

    def order_of(self, run: MethodRun) -> tuple[str, ...]:
        """The tasks in the order the run trained on them."""
        return run.order or self.sequence

    def learned_at(self, run: MethodRun, task: str) -> int:
        """The stage after which the run has been trained on the task; 0 for a general benchmark."""
        if task in self.general:
            return 0
        return 1 if run.joint else self.order_of(run).index(task) + 1

    def records(self) -> pd.DataFrame:
        """As `frames.records`."""
        from holdfast.analysis import frames

        return frames.records(self)

    def cells(self) -> pd.DataFrame:
        """As `frames.cells`."""
        from holdfast.analysis import frames

        return frames.cells(self)

    def metrics(self) -> pd.DataFrame:
        """As `frames.metrics`."""
        from holdfast.analysis import frames

        return frames.metrics(self)
