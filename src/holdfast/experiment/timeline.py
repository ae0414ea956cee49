"""A run imagined: the jobs of a plan handed out as a run would, to workers that take the expected time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from holdfast.experiment.plan import Job, Plan
from holdfast.experiment.queue import Queue


@dataclass(frozen=True)
class Shift:
    """A job on a worker, from when to when, in seconds."""

    job: Job
    worker: int
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Timeline:
    """Who does what when.

    Attributes:
        shifts: by start.
        chain: seconds of the longest chain of jobs that wait for each other; no number of workers is faster.
    """

    workers: int
    shifts: tuple[Shift, ...]
    chain: float

    @property
    def seconds(self) -> float:
        return max((shift.end for shift in self.shifts), default=0.0)

    def busy(self, worker: int) -> float:
        """Share of the whole time in which a worker has a job."""
        own = sum(shift.seconds for shift in self.shifts if shift.worker == worker)
        return own / self.seconds if self.seconds else 0.0

    def bar(self, worker: int, width: int = 48) -> str:
        """A line of time: L learning, f filtering, e evaluating and measuring, and a dot for idle."""
        cells = ["·"] * width
        for shift in self.shifts:
            if shift.worker == worker and self.seconds:
                first, last = (int(width * moment / self.seconds) for moment in (shift.start, shift.end))
                sign = {"learn": "L", "filter": "f"}.get(shift.job.kind, "e")
                cells[first:last] = sign * (last - first)
        return "".join(cells)


def simulate(plan: Plan, todo: Mapping[str, Job], cost: Callable[[Job], float], workers: int) -> Timeline:
    """The run of these jobs, in the order in which `Queue` hands them out.

    Args:
        cost: seconds of a job.
    """
    costs = {name: cost(job) for name, job in todo.items()}
    queue = Queue(plan, lambda job: costs[job.fingerprint])
    queue.want(todo)
    chain = max(queue.tail.values(), default=0.0)
    held: list[str | None] = [None] * workers
    idle, ends, shifts, now = list(range(workers)), list[tuple[float, int, Job]](), list[Shift](), 0.0
    while queue.todo:
        for worker in list(idle):
            if (job := queue.take(held[worker], workers)) is None:
                break
            idle.remove(worker)
            end = now + costs[job.fingerprint]
            shifts.append(Shift(job, worker, now, end))
            heapq.heappush(ends, (end, worker, job))
        now, worker, job = heapq.heappop(ends)
        queue.done(job)
        held[worker] = job.fingerprint if job.kind == "learn" else job.starts_from
        idle = sorted([*idle, worker])
    return Timeline(workers, tuple(shifts), chain)
