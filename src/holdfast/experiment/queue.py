"""Which job is next: what is ready, and which of that the others wait for most."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from holdfast.experiment.plan import Job, Plan

TRAINING = ("learn", "filter")  # what later stages wait for; all else judges


class Queue:
    """Jobs that are to be done; knows nothing of a store.

    Args:
        cost: seconds that a job is expected to take.

    Attributes:
        todo: jobs without a result, failed and running ones included.
        running: jobs that were handed out.
        failed: why a job gave no result; jobs that depend on it are `skipped`.
    """

    def __init__(self, plan: Plan, cost: Callable[[Job], float]) -> None:
        self.plan = plan
        self.cost = cost
        self.children = plan.children()
        self.todo: dict[str, Job] = {}
        self.running: set[str] = set()
        self.failed: dict[str, str] = {}
        self.skipped: set[str] = set()
        self.tail: dict[str, float] = {}  # seconds from a job's start to the end of what waits for it
        self._unmet: dict[str, int] = {}  # how many jobs that are still to be done one waits for
        self._wait: dict[str, float] = {}  # until when not to try a job that another process has

    def want(self, todo: Mapping[str, Job]) -> None:
        """Make these the jobs that are to be done."""
        self.todo = dict(todo)
        self._unmet = {name: sum(parent in todo for parent in job.parents) for name, job in todo.items()}
        self.tail = {}
        for name in reversed(self.plan.jobs):
            waiting = max((self.tail.get(child, 0.0) for child in self.children[name]), default=0.0)
            if name in self.todo:
                waiting += self.cost(self.plan.jobs[name])
            self.tail[name] = waiting

    def costs(self) -> dict[str, float]:
        """Seconds that each of them is expected to take."""
        return {name: self.cost(job) for name, job in self.todo.items()}

    def open(self) -> list[Job]:
        """Jobs that are neither done, running, failed nor skipped."""
        closed = self.running | self.failed.keys() | self.skipped
        return [job for name, job in self.todo.items() if name not in closed]

    def take(self, held: str | None, workers: int) -> Job | None:
        """The next job for a worker that holds the policy `held` in memory; None if none is ready.

        With as many chains to train as workers, a worker judges the policy it holds before it
        trains on: nothing is loaded twice and weights go early. Spare workers do the judging, and
        the longest chain is never kept waiting.
        """
        now = time.monotonic()
        ready = [
            job
            for job in self.open()
            if not self._unmet[job.fingerprint] and self._wait.get(job.fingerprint, 0.0) <= now
        ]
        if not ready:
            return None
        training = sum(job.kind in TRAINING for job in ready)
        training += sum(self.plan.jobs[name].kind in TRAINING for name in self.running)
        spare = workers > training

        def preference(job: Job) -> tuple[bool, bool, float]:
            trains, at_hand = job.kind in TRAINING, job.starts_from == held
            first = trains if spare else at_hand
            return first, (at_hand if spare else at_hand and not trains), self.tail[job.fingerprint]

        best = max(ready, key=preference)
        self.running.add(best.fingerprint)
        return best

    def done(self, job: Job) -> None:
        self.running.discard(job.fingerprint)
        if self.todo.pop(job.fingerprint, None) is not None:
            for child in self.children[job.fingerprint]:
                if child in self._unmet:
                    self._unmet[child] -= 1
