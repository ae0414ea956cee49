"""Evaluation: free generation on a task's examples, graded, one record a sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from holdfast.analysis.results import Record, make_record
from holdfast.generate.generator import Asking, Generator, ask, questions
from holdfast.rowlog import RowLog
from holdfast.tasks.example import Example
from holdfast.tasks.grading import grade
from holdfast.tasks.task import Task


class Enough(Exception):
    """Whoever watches has seen enough: the first items are answered, and the others need not be.

    Attributes:
        records: of the first items, in order.
    """

    def __init__(self, records: list[Record]) -> None:
        super().__init__(f"{len(records)} items are enough")
        self.records = records


OnStep = Callable[[int, int, dict[str, float]], None]  # is told what is done, of how much, and how well
Watch = Callable[[Mapping[int, Record]], None]  # is shown the answers so far by position; may raise `Enough`


def evaluate(
    generator: Generator,
    task: Task,
    examples: Sequence[Example],
    asking: Asking,
    *,
    on_step: OnStep = lambda done, total, numbers: None,
    kept: RowLog | None = None,
    watch: Watch = lambda records: None,
) -> list[Record]:
    """Have each example answered once, and grade the answers.

    Args:
        asking: without a `batch` for a generator that divides the work itself.
        kept: what a killed job has got already; answers are added to it as they come.
        watch: looks at the answers while they come.

    Returns:
        A record an example, in order.

    Raises:
        Enough: of `watch`.
    """
    kept = kept or RowLog()
    # Answers may come in any order; rows without a position are those of a log in the examples' order.
    records = {row.pop("position", index): row for index, row in enumerate(map(dict, kept.rows))}
    asked = questions([(task, example) for example in examples], asking.style, asking.templates)
    size, sampling, style = asking.batch or len(examples), asking.sampling, asking.style
    if kept.by is not None and (recall := getattr(generator, "recall", None)):
        recall(kept.by)
    watch(records)
    prepare = getattr(generator, "prepare", lambda questions: None)
    opened = getattr(generator, "opens_thought", True)  # a server does not tell what its prompts end in
    for start in range(0, len(examples), size):
        left = [place for place in range(start, min(start + size, len(examples))) if place not in records]
        if not left:
            continue
        prepare(asked[start + size : start + 2 * size])
        for part in ask(generator, [asked[place] for place in left], 1, sampling, (*asking.stream, start)):
            new = {}
            for index, texts, lengths, finished in zip(
                part.asked, part.texts, part.lengths, part.finished, strict=True
            ):
                example = examples[left[index]]
                found = grade(task, example, texts[0], style, opened)
                # In single precision, as scores of roll-outs are: records of the same model stay the same.
                found = replace(found, score=float(np.float32(found.score)))
                new[left[index]] = make_record(task, example, texts[0], found, lengths[0], finished[0])
            rows = [{"position": place, **record} for place, record in new.items()]
            kept.add(rows, getattr(generator, "served", None))
            records |= new
            mean = sum(record["score"] for record in records.values()) / len(records)
            on_step(len(records), len(examples), {"accuracy": mean})
            watch(records)
    return [records[place] for place in range(len(examples))]
