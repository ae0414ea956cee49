"""Rows that a model cannot take, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from holdfast.tasks.task import Split, Task

SHOWN = 5  # of the rows that a message names


@dataclass(frozen=True)
class LeftOut:
    """The rows of one split of a task that a run goes without (`bad_rows: skip`).

    Attributes:
        looked_at: rows of the data, from its beginning: those in use and these.
        problems: of each such row, by its position in the data (from 0): a sentence with its id and place.
    """

    task: str
    split: Split
    looked_at: int
    problems: Mapping[int, str]

    @property
    def text(self) -> str:
        """How many rows are left out, as a sentence without its full stop."""
        many = len(self.problems) > 1
        rows = f"{len(self.problems):,} of {self.looked_at:,} {self.split} rows of {self.task}"
        are, them = ("are", "them") if many else ("is", "it")
        return f"{rows} {are} left out: the model cannot take {them}"

    @property
    def first(self) -> list[str]:
        """As `first_of`."""
        return first_of([*self.problems.values()])


def without(task: Task, left_out: Sequence[LeftOut]) -> Task:
    """The task as if those of these rows that are its own were not in its data."""
    return task.without({one.split: [*one.problems] for one in left_out if one.task == task.name})


def first_of(problems: Sequence[str]) -> list[str]:
    """The first problems, and how many more there are."""
    more = [f"… and {len(problems) - SHOWN:,} more."] if len(problems) > SHOWN else []
    return [*problems[:SHOWN], *more]
