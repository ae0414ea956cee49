"""What a run is at, read from its store alone: who watches changes nothing there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast import files
from holdfast.config.experiment import Experiment
from holdfast.experiment.failures import noted
from holdfast.experiment.plan import Chain, Job, Plan
from holdfast.experiment.presence import in_use
from holdfast.experiment.store import Store
from holdfast.report.gallery.items import shorten
from holdfast.tasks.scoring import RIGHT

MOST_POINTS = 400  # of a curve
MOST_ANSWERS = 12
CURVES = ("reward", "accuracy", "loss")


class Watch:
    """A run under way.

    Attributes:
        seen: it was at work at some time.
    """

    def __init__(self, experiment: Experiment, plan: Plan, store: Store) -> None:
        self.experiment = experiment
        self.plan = plan
        self.store = store
        self.seen = False
        self._names = {job.short_name for job in plan.jobs.values()}
        self._left = list(plan.jobs.values())

    @property
    def at_work(self) -> bool:
        """Whether a process counts on its results: the run, its report included."""
        return self._since() is not None

    def _since(self) -> int | None:
        """When the first of these processes began, by the clock of the store's disk."""
        begun = [when for name, when in in_use(self.store).items() if name in self._names]
        self.seen = self.seen or bool(begun)
        return min(begun, default=None)

    @property
    def ended(self) -> bool:
        """Whether it is over: a run that was at work, or all of its jobs where another machine does them."""
        at_work = self.at_work
        if at_work or self.seen:
            return not at_work
        while self._left and self.store.has_whole(self._left[-1]):  # what is done last is asked for first
            self._left.pop()
        return not self._left

    def done(self) -> set[str]:
        """The fingerprints of the jobs that are done."""
        return {name for name, job in self.plan.jobs.items() if self.store.has_whole(job)}

    def state(self) -> dict[str, Any]:
        """All that the page shows, ready for JSON."""
        since, done, page = self._since(), self.done(), self.experiment.page
        left = [job for name, job in self.plan.jobs.items() if name not in done]
        begun = [job for job in left if self.store.work(job).is_dir()]
        failures = {job.label: message for job in begun if (message := noted(self.store, job))}
        at = [job for job in begun if job.label not in failures and self._is_at(job, since)]
        return {
            "name": self.experiment.name,
            "at_work": since is not None,
            "ended": since is None and (self.seen or not left),
            "done": len(done),
            "total": len(self.plan.jobs),
            "jobs": [self._job(job) for job in at],
            "failures": [{"label": label, "message": message} for label, message in failures.items()],
            "curves": [curve for chain in self.plan.chains for curve in self._curves(chain)],
            "answers": self._answers(begun, done),
            "report": str(page) if page.is_file() else None,
        }

    def _is_at(self, job: Job, since: int | None) -> bool:
        """Whether a job is under way: an earlier run, which was stopped, may have left what is not yet."""
        work = self.store.work(job)
        return since is not None and max(map(_written, (work, *work.glob("*")))) >= since

    def _job(self, job: Job) -> dict[str, Any]:
        """A job under way: how much of it, as far as its file tells."""
        if job.kind == "learn":
            steps = (row.get("step") for row in self._metrics(job))
            last = max((step for step in steps if isinstance(step, int)), default=-1)  # counted from 0
            return {"label": job.label, "at": last + 1, "of": job.inputs["iterations"]}
        rows = sum(len(batch) for batch in _batches(self.store.work(job) / "rows.jsonl"))
        most = job.inputs["tasks"][0]["count"] if job.kind == "evaluate" else None
        return {"label": job.label, "at": rows, "of": most}

    def _metrics(self, job: Job) -> list[dict[str, Any]]:
        """The metrics of a `learn` job, done or under way; lines that are being written are left out."""
        for folder in (self.store.folder(job), self.store.work(job)):
            if (path := folder / "metrics.jsonl").is_file():
                return [row for row in _lines(path) if isinstance(row, dict)]
        return []

    def _curves(self, chain: Chain) -> Iterator[dict[str, Any]]:
        """One curve a quantity, over all stages of a method and seed; `starts` are where stages begin.

        Of many points some stand for all, the latest among them.
        """
        rows: list[dict[str, Any]] = []
        starts = []
        for name in chain.learn:
            if stage := self._metrics(self.plan.jobs[name]):
                starts.append(len(rows))
                rows += stage
        every = max(1, math.ceil(len(rows) / MOST_POINTS))
        for key in CURVES:
            points = [(index, row[key]) for index, row in enumerate(rows) if _is_number(row.get(key))]
            if points and not (key == "accuracy" and any("reward" in row for row in rows)):
                label = f"{chain.method}, seed {chain.seed}"
                yield {"run": label, "name": key, "points": points[::-every][::-1], "starts": starts}

    def _answers(self, begun: list[Job], done: set[str]) -> list[dict[str, Any]]:
        """The last answers: of the evaluation written to last, under way or done."""
        places = [(job, self.store.work(job) / "rows.jsonl") for job in begun if job.kind == "evaluate"]
        places += [
            (job, self.store.folder(job) / "records.jsonl")
            for name in done
            if (job := self.plan.jobs[name]).kind == "evaluate"
        ]
        if not places:
            return []
        job, path = max(places, key=lambda place: _written(place[1]))
        rows = [row for batch in _batches(path) for row in batch if _is_answer(row)][-MOST_ANSWERS:]
        return [
            {
                "label": job.label,
                "id": str(row["id"]),
                "prompt": shorten(str(row["prompt"])),
                "response": shorten(str(row["response"])),
                "reference": shorten(str(row["reference"])),
                "right": row["score"] >= RIGHT,
            }
            for row in reversed(rows)
        ]


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The rows of a file, which holds one a line, or batches of them."""
    for line in _lines(path):
        if isinstance(line, dict):
            yield line["rows"] if isinstance(line.get("rows"), list) else [line]


def _is_answer(row: Any) -> bool:
    """Whether a row is one of an evaluation; a file that was damaged may hold others."""
    whole = isinstance(row, dict) and row.keys() >= {"id", "prompt", "response", "reference", "score"}
    return whole and _is_number(row["score"])


def _lines(path: Path) -> Iterator[Any]:
    try:
        content = files.read_bytes(path)
    except OSError:
        return
    for line in content.split(b"\n"):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            continue


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
