"""What a checkpoint is asked, and how."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from holdfast.analysis.results import Record
from holdfast.errors import InputError
from holdfast.policy.settings import Sampling
from holdfast.tasks.catalog import get_task
from holdfast.tasks.example import Example
from holdfast.tasks.jsonl import OwnTask
from holdfast.tasks.prompts import Style
from holdfast.tasks.scorers import SCORERS
from holdfast.tasks.task import Split, Task

OnStep = Callable[[int, int, dict[str, float]], None]


@dataclass(frozen=True)
class Exam:
    """Tasks and the way in which they are asked; equal for all checkpoints that are compared.

    Attributes:
        count: at most so many examples of each task; None for all.
    """

    tasks: tuple[Task, ...]
    split: Split
    count: int | None
    style: Style
    templates: Mapping[Style, str]
    sampling: Sampling

    def examples(self, task: Task) -> list[Example]:
        """The task's first examples.

        Raises:
            InputError: there are none, or the task has no end and no count was given.
        """
        size = task.sizes.get(self.split)
        if size is None and self.split in task.sizes and self.count is None:
            raise InputError(
                f"Task {task.name} has no end: say with --examples how many {self.split} examples to take."
            )
        count = self.count if not size else min(self.count or size, size)
        return task.examples(self.split, count)

    def inputs(self, task: Task) -> dict[str, Any]:
        """Everything but the checkpoint that determines the records of a task."""
        return {
            "task": task.name,
            "version": task.version,
            "data": task.source,
            "scorer": task.scorer,
            "split": self.split,
            "examples": len(self.examples(task)),
            "style": self.style,
            "template": self.templates[self.style],
            "sampling": self.sampling.model_dump(mode="json"),
        }


class Subject(Protocol):
    """A checkpoint that can be asked, on this machine or behind a server."""

    @property
    def name(self) -> str:
        """Where it is: a folder, a hub id, a server and the name it serves the model by."""

    @property
    def repeated(self) -> int:
        """Requests to a server that had to be repeated."""

    def identity(self, folder: Path) -> dict[str, Any]:
        """All that determines what it answers; `folder` may keep hashes of large files."""

    def answer(
        self, task: Task, examples: Sequence[Example], exam: Exam, part: Path, on_step: OnStep
    ) -> list[Record]:
        """A record an example, in order.

        Args:
            part: a file that may hold answers of an earlier, interrupted call with the same inputs.
        """

    def close(self) -> None:
        """Free the memory it takes; it may be asked again."""


def find_tasks(names: Sequence[str], data: Sequence[str], split: Split, scoring: str) -> tuple[Task, ...]:
    """The tasks that the command line names.

    Args:
        names: of embedded tasks, prepared benchmarks, and of `data`.
        data: `NAME=FILE.jsonl` or `NAME=FILE.jsonl:SCORER`; those not among `names` come after them.

    Raises:
        InputError: a name is unknown or stands there twice, a file cannot be used.
    """
    own = dict(_own_task(text, split) for text in data)
    wanted = [*names, *(name for name in own if name not in names)]
    if not wanted:
        raise InputError("Say which tasks: --tasks NAME,NAME or --data NAME=FILE.jsonl.")
    if repeated := {name for name in wanted if wanted.count(name) > 1}:
        raise InputError(f"--tasks names {', '.join(sorted(repeated))} more than once.")
    rule = "study" if scoring == "study" else "official"
    return tuple(get_task(name, own, rule) for name in wanted)  # type: ignore[arg-type]


def _own_task(text: str, split: Split) -> tuple[str, OwnTask]:
    name, equals, rest = text.partition("=")
    file, colon, scorer = rest.rpartition(":")
    if not colon or scorer not in SCORERS:
        file, scorer = rest, "exact"
    if not (equals and file) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise InputError(
            f"--data {text} must be NAME=FILE.jsonl or NAME=FILE.jsonl:SCORER, with letters, digits, "
            "'-' and '_' in the name."
        )
    path = Path(file)
    if not path.is_file():
        known = f"; scorers are {', '.join(SCORERS)}" if colon else ""
        raise InputError(f"--data {text}: there is no file {file}{known}.")
    return name, OwnTask.model_validate({split: path, "scorer": scorer})
