"""Trackers: where the curves, cells and tables of a run are shown besides its report.

A tracker is told things in the process that a run was started in; workers know of none. It decides nothing
and may fail as it likes: `experiment/tracking.py` sees to that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from holdfast import plugins
from holdfast.errors import InputError, suggestion

TRACKERS = {  # loaded when they are used; an extra of each name brings its package
    "tensorboard": "holdfast.tracking.tensorboard:TensorBoard",
    "wandb": "holdfast.tracking.wandb:WeightsAndBiases",
    "trackio": "holdfast.tracking.trackio:Trackio",
    "mlflow": "holdfast.tracking.mlflow:MLflow",
}

Axis = Literal["iteration", "stage"]


@dataclass(frozen=True)
class Tracked:
    """The run that a tracker is told of.

    Attributes:
        name: of the experiment.
        key: changes with anything that changes a result or names it, so that other settings are not drawn
            on one line.
        folder: for what the tracker writes; kept from one start of the run to the next.
        settings: of the experiment, as plain data.
    """

    name: str
    key: str
    folder: Path
    settings: Mapping[str, Any]


class Tracker(ABC):
    """One place that shows runs. A new one of the same `key` goes on where the last one was stopped.

    Attributes:
        can_flush: what was told outlives this process once `flush` has returned; else, once `close` has.
    """

    can_flush = True

    def __init__(self, run: Tracked) -> None:
        self.run = run

    @abstractmethod
    def log(self, line: str, axis: Axis, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers of one line, a method with a seed.

        Args:
            axis: what `step` counts: iterations over all stages, from 1, for `train/...`; or stages, with 0
                for the base, for `accuracy/...` (0..1).
        """

    def table(self, table: Mapping[str, Any]) -> None:  # noqa: B027 - not all show tables
        """A table of the report, in its JSON form."""

    def report(self, folder: Path) -> None:  # noqa: B027 - nor files
        """The folder of the whole report, with `index.html` and `report.md`."""

    def flush(self) -> None:  # noqa: B027
        """What was told is not lost when this process is killed from here on."""

    def close(self) -> None:  # noqa: B027
        """Nothing more is told."""


class ByLine(Tracker):
    """A tracker that shows each line as a run of its own, opened when it is first told of."""

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        self._runs: dict[str, Any] = {}

    @abstractmethod
    def open(self, line: str) -> Any:
        """The run of a line; one that was stopped goes on."""

    def end(self, run: Any) -> None:
        """End what `open` gave."""
        run.finish()

    def line(self, line: str) -> Any:
        if line not in self._runs:
            self._runs[line] = self.open(line)
        return self._runs[line]

    def close(self) -> None:
        for run in self._runs.values():
            self.end(run)


def tracker_class(name: str) -> type[Tracker]:
    """The tracker of that name.

    Raises:
        InputError: as `check_tracker`.
        ImportError: its package is not installed.
    """
    check_tracker(name)
    found: type[Tracker] = plugins.load_own(TRACKERS[name]) if name in TRACKERS else plugins.load(name)
    return found


def own_name(name: str) -> str:
    """A tracker's name without its file, which its folder has; a run has each once."""
    return name.rpartition(":")[2]


def check_tracker(name: str) -> None:
    """See that there is a tracker of that name; one of ours is not loaded.

    Raises:
        InputError: there is none, or it is no whole class.
    """
    if plugins.is_reference(name):
        plugins.load_class(name, Tracker)
    elif name not in TRACKERS:
        raise InputError(
            f"there is no tracker '{name}'{suggestion(name, TRACKERS)}; one of your own is FILE.py:CLASS"
        )


def cells(table: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Headings and rows of a table; beside an estimate stand the ends of its interval, each in a column."""
    flat = []
    for row in table["rows"]:
        parts = {key: value if isinstance(value, dict) else {"value": value} for key, value in row.items()}
        flat.append({(key, part): value for key, found in parts.items() for part, value in found.items()})
    order = {key: place for place, key in enumerate(table["rows"][0])}
    headings = sorted(dict.fromkeys(key for row in flat for key in row), key=lambda one: order[one[0]])
    names = [key if part == "value" else f"{key}_{part}" for key, part in headings]
    return names, [[row.get(heading) for heading in headings] for row in flat]
