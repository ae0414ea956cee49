"""Which tasks there are, and how to get one by its name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from holdfast import plugins
from holdfast.errors import InputError
from holdfast.tasks.columns import HubTask, TableTask, load_hub_task, load_table_task
from holdfast.tasks.jsonl import OwnTask, load_task
from holdfast.tasks.prompts import STYLES, Style
from holdfast.tasks.scorers import FORMULAS, latex
from holdfast.tasks.task import Task


def names(own: Mapping[str, OwnTask | HubTask | TableTask | str] | None = None) -> list[str]:
    """Names of the tasks at hand: the embedded suite in its order, prepared benchmarks, one's own."""
    from holdfast.tasks.embedded import TASKS
    from holdfast.tasks.prepared import prepared_names

    return [*TASKS, *prepared_names(), *(own or {})]


def taken(name: str) -> str | None:
    """Whose name it is, so that no task of one's own can have it; None where it is free."""
    from holdfast.tasks.benchmarks import BENCHMARKS
    from holdfast.tasks.embedded import TASKS

    return "an embedded one" if name in TASKS else "a benchmark" if name in BENCHMARKS else None


def get_task(
    name: str,
    own: Mapping[str, OwnTask | HubTask | TableTask | str] | None = None,
    scoring: Literal["official", "study"] = "official",
    styles: Sequence[Style] = STYLES,
) -> Task:
    """The task of this name, from one's own data, the embedded suite or a prepared benchmark.

    Args:
        scoring: the rule for benchmarks: each one's own, or the study's for all of them. Embedded
            and own tasks have one rule.
        styles: the prompt styles in which one's own rows must be able to be right.

    Raises:
        InputError: there is no such task (with a suggestion), or two, or its data cannot be read or
            is not prepared yet (with the command that does it).
    """
    from holdfast.tasks.benchmarks import BENCHMARKS
    from holdfast.tasks.embedded import TASKS
    from holdfast.tasks.prepared import load_benchmark

    if own and name in own:
        if whose := taken(name):
            raise InputError(f"Your own task '{name}' has the name of {whose}; give it another name.")
        settings = own[name]
        if isinstance(settings, str):
            return _usable(_of_code(name, settings))
        if isinstance(settings, HubTask):
            return _usable(load_hub_task(name, settings))
        if isinstance(settings, TableTask):
            return _usable(load_table_task(name, settings))
        return _usable(load_task(name, settings, styles))
    if name in TASKS:
        return TASKS[name]
    if name in BENCHMARKS:
        task = load_benchmark(name)
        return _usable(task.scored_by("study") if scoring == "study" else task)
    known = [*TASKS, *BENCHMARKS, *(own or {})]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"there is {', '.join(known)}."
    raise InputError(f"There is no task '{name}'; {hint}")


def _of_code(name: str, reference: str) -> Task:
    """The task that code of the user's is, or makes; known by its file besides what it says of its data.

    Raises:
        InputError: it is none, or the code cannot be used.
    """
    found = plugins.load(reference)
    if not isinstance(found, Task):
        plugins.load_function(reference)
        found = plugins.call(reference, about=f"the task {name}")
    if not isinstance(found, Task):
        raise InputError(f"{reference} must be a holdfast.Task, or a function that returns one.")
    return replace(found, name=name, source=f"{found.source} {plugins.identify(reference)}".strip())


def _usable(task: Task) -> Task:
    if task.scorer in FORMULAS:
        latex.require()
    return task
