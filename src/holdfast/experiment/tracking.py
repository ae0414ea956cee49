"""What trackers are told of a run: from the store and the curves that jobs leave on disk.

Only the process that a run was started in tells, so that jobs are the same with trackers and without. What
each tracker was told stands in `told.json` in its folder: a run that goes on tells what is new.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from holdfast import files, plugins
from holdfast.config.experiment import Experiment
from holdfast.errors import HoldfastError, reason
from holdfast.experiment.executor import Event
from holdfast.experiment.identity import digest
from holdfast.experiment.plan import Job, Plan
from holdfast.experiment.store import Store
from holdfast.tracking import TRACKERS, Axis, Tracked, Tracker, own_name, tracker_class

SECONDS = 5.0  # between two looks at the curve of a job under way
_Point = tuple[str, Axis, int, dict[str, float]]  # as `Tracker.log` takes it
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Place:
    """Where the result of a job stands on a line; equal work stands on several.

    Attributes:
        before: iterations of the stages before this one.
        metric: of a cell, its name.
    """

    line: str
    stage: int
    before: int = 0
    metric: str = ""


class Tracking:
    """The trackers of a run; made, it tells what the store holds already.

    Args:
        names: of the trackers.
    """

    def __init__(self, experiment: Experiment, plan: Plan, store: Store, names: Sequence[str]) -> None:
        self._store = store
        self._looked: dict[str, float] = defaultdict(float)
        self._places = _places(plan)
        folder, key = experiment.output / "tracking", digest([sorted(plan.jobs), _drawn(self._places)])[:8]
        self._tellers = [
            _Teller(name, Tracked(experiment.name, key, folder / own_name(name) / key, experiment.resolved()))
            for name in names
        ]
        if self._tellers:
            try:
                for job in plan.jobs.values():
                    self._tell(job, whole=True)
            finally:
                for teller in self._tellers:
                    teller.note()

    def hear(self, job: Job, event: Event) -> None:
        """Tell what a job has found, now and then and when it is done."""
        now = time.monotonic()
        if self._tellers and (event.kind == "done" or now - self._looked[job.fingerprint] >= SECONDS):
            self._looked[job.fingerprint] = now
            self._tell(job, whole=event.kind == "done", note=True)

    def report(self, page: Path) -> None:
        """Tell the report and its tables, if it is there and was not told before."""
        if page.is_file():
            for teller in self._tellers:
                teller.tell_report(page.parent, files.file_digest(page))

    def close(self) -> None:
        for teller in self._tellers:
            teller.close()

    def _tell(self, job: Job, whole: bool, note: bool = False) -> None:
        points = []
        try:
            if not whole or self._store.has(job):
                points = self._points(job, whole)
        except (HoldfastError, OSError, ValueError, KeyError):
            return  # it is damaged or just being written; the run says so where that matters
        for teller in self._tellers:
            teller.tell(job.fingerprint, points)
            if note:
                teller.note()

    def _points(self, job: Job, whole: bool) -> list[list[_Point]]:
        """What there is of a job, in an order that does not change."""
        places = self._places[job.fingerprint]
        if job.kind == "learn":
            if whole:
                rows = self._store.rows(job, "metrics.jsonl")
            else:
                rows = _rows_so_far(self._store.work(job) / "metrics.jsonl")
            return [[_of_row(row, place) for place in places] for row in rows]
        if job.kind != "evaluate" or not whole:
            return []
        accuracy = self._store.result(job)["accuracy"]
        return [[(place.line, "stage", place.stage, {place.metric: accuracy}) for place in places]]


class _Teller:
    """One tracker and what it was told; from its first error on it is left alone."""

    def __init__(self, name: str, run: Tracked) -> None:
        self.name = name
        self._path = run.folder / "told.json"
        self._told: dict[str, Any] = {"tracker": Path(name).name, "points": {}, "report": ""}
        self._news = False  # that is not put down yet
        self._tracker: Tracker | None = None
        with self._tolerated():
            run.folder.mkdir(parents=True, exist_ok=True)
            if self._path.exists():
                told = _read_told(self._path)
                if told.get("tracker", self._told["tracker"]) == self._told["tracker"]:
                    self._told |= told  # else another class of this name was told
            self._tracker = tracker_class(self.name)(run)

    def tell(self, job: str, points: list[list[_Point]]) -> None:
        """Tell the points of a job that are new."""
        new = points[self._told["points"].get(job, 0) :]
        if self._tracker is not None and new:
            with self._tolerated():
                for line, axis, step, numbers in (point for group in new for point in group):
                    self._tracker.log(line, axis, step, {**numbers})  # which others are told, too
                self._told["points"][job] = len(points)
                self._news = True

    def tell_report(self, folder: Path, digest: str) -> None:
        """Tell a report and its tables, unless it is the one that was told before."""
        if self._tracker is not None and self._told["report"] != digest:
            with self._tolerated():
                for table in sorted((folder / "tables").glob("*.json")):
                    self._tracker.table(files.read_json(table))
                self._tracker.report(folder)
                self._told["report"] = digest
                self._news = True
            self.note()

    def note(self) -> None:
        """Put down what was told, so that it is never told again, where it cannot be lost any more."""
        if self._tracker is not None and self._news:
            with self._tolerated():
                if self._tracker.can_flush:
                    self._tracker.flush()
                    self._put_down()

    def close(self) -> None:
        if self._tracker is not None:
            with self._tolerated():
                self._tracker.close()
                if self._news:
                    self._put_down()

    def _put_down(self) -> None:
        files.write_json(self._path, self._told)
        self._news = False

    @contextmanager
    def _tolerated(self) -> Iterator[None]:
        """An error of the block costs one warning and the tracker, never the run."""
        try:
            # A script may read what the run itself prints; and jobs may be done in this process.
            with redirect_stdout(sys.stderr), plugins.torch_kept():
                yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also `sys.exit()` and what asyncio cancels
            self._tracker = None
            lacking = isinstance(error, ImportError) and self.name in TRACKERS
            advice = f"; pip install {self.name}" if lacking else ""
            place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
            cause = plugins.fault_in(self.name, error) or f"{place}{reason(error)}"
            log.warning("The tracker %s is left out of this run: %s%s.", self.name, cause, advice)


def _places(plan: Plan) -> dict[str, list[_Place]]:
    """Job -> where it stands."""
    places: dict[str, list[_Place]] = defaultdict(list)
    for chain in plan.chains:
        line, before = f"{chain.method} seed {chain.seed}", 0
        for stage, name in enumerate(chain.learn, start=1):
            places[name].append(_Place(line, stage, before))
            before += plan.jobs[name].inputs["iterations"]
        for (stage, task), name in chain.cells.items():
            places[name].append(_Place(line, stage, metric=f"accuracy/{task}"))
        for (stage, task), name in chain.other_cells.items():
            style = plan.jobs[name].style
            places[name].append(_Place(line, stage, metric=f"accuracy/{task} ({style})"))
    return places


def _drawn(places: Mapping[str, Sequence[_Place]]) -> list[list[Any]]:
    """What is drawn on which line: equal results under another name of a method are another drawing."""
    return sorted([*astuple(place), job] for job, found in places.items() for place in found)


def _of_row(row: Mapping[str, float], place: _Place) -> _Point:
    """A row of a learning curve on a line."""
    numbers = {f"train/{key}": value for key, value in row.items() if key != "step"}
    step = place.before + int(row["step"]) + 1
    return place.line, "iteration", step, {**numbers, "train/stage": float(place.stage)}


def _rows_so_far(path: Path) -> list[dict[str, float]]:
    """The rows of a curve that is being written; the last line may be half there."""
    if not path.exists():
        return []
    return [json.loads(line) for line in files.read_text(path).split("\n")[:-1]]


def _read_told(path: Path) -> dict[str, Any]:
    """What a tracker was told.

    Raises:
        ValueError: it does not say that.
    """
    told = files.read_if_there(path)
    points = told.get("points") if isinstance(told, dict) else None
    if not isinstance(points, dict) or "report" not in told or {*map(type, points.values())} - {int}:
        raise ValueError(f"{path} is damaged; remove it, and this tracker is told all again")
    return {**told}
