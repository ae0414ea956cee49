"""Which tasks there are, and how to get one by its name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from holdfast.errors import InputError
from holdfast.tasks.jsonl import OwnTask, load_task
from holdfast.tasks.task import Task


def names(own: Mapping[str, OwnTask] | None = None) -> list[str]:
    """Names of all tasks: the embedded suite in its order, then one's own."""
    from holdfast.tasks.embedded import TASKS

    return [*TASKS, *(own or {})]


def get_task(name: str, own: Mapping[str, OwnTask] | None = None) -> Task:
    """The task of this name, from one's own data or the embedded suite.

    Raises:
        InputError: there is no such task (with a suggestion), or two, or its data cannot be read.
    """
    from holdfast.tasks.embedded import TASKS

    if own and name in own:
        if name in TASKS:
            raise InputError(f"Your own task '{name}' has the name of an embedded one; give it another name.")
        return load_task(name, own[name])
    if name in TASKS:
        return TASKS[name]
    known = names(own)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"there is {', '.join(known)}."
    raise InputError(f"There is no task '{name}'; {hint}")
